"""`decolle-hw init`: a folder with a description of one's own recordings that is ready to be trained."""
