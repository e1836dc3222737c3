"""Live input: events from a file or a pipe through a compiled network, and decisions as they happen."""
