"""Train spiking networks with DECOLLE, compile them to Loihi 2 integers, prove them equal in Lava."""

__version__ = "0.1.0"
