"""Which tensors are stored in 8 bits, on which scale."""
