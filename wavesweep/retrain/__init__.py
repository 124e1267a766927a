"""Retraining of a pruned network, with the coefficients as its parameters."""
