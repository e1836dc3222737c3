"""`decolle-hw config`: what a description comes to, where each value is from, and a schema for editors."""
