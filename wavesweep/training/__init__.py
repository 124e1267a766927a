"""Training of baselines and retraining in the coefficients. Imports `measure` and below."""
