"""What users type: each command parses, calls one function, and prints what was found.

Library modules are imported inside the commands, so that `--help` needs neither torch nor Lava.
"""
