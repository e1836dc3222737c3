"""`decolle-hw run --sim --learn`: a compiled network is shown labelled recordings, and learns on chip."""
