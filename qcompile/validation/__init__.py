"""A compiled model against the oracle, the float model and the labels."""
