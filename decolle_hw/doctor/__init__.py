"""What `decolle-hw doctor` finds out: does this machine and this environment do what decolle-hw needs?

It is there for broken environments, so nothing here imports at the top what could be missing or broken.
"""
