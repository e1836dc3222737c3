"""`decolle-hw models`: the shipped models, and what was measured of them."""
