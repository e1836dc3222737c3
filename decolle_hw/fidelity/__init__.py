"""How much of a network survives each step of the way, float to quantized to integers."""
