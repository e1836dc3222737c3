"""Widths that descriptions are checked against; apart from what computes with them, which takes a second to import."""

BITS_MIN, BITS_MAX = 2, 8  # of a synaptic weight, see `decolle_hw.weightgrid`
