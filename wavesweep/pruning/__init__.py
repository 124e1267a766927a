"""Which tensors are pruned, and which of their coefficients are kept. Imports `transform` and below."""
