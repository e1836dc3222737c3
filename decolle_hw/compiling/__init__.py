"""`decolle-hw compile`: from whatever describes a network to integers, cores, estimates and a report."""
