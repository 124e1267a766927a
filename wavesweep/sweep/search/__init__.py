"""The search for the Pareto front with Optuna: space, samplers, storage, the study, and what it prints and writes."""
