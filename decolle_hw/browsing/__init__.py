"""What was trained and what was compiled from it, read from disk without torch or numba."""
