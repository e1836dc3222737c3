"""`decolle-hw verify`: the whole chain on the same recordings, a verdict, tables, a picture."""
