"""Scripts over `outputs/`: they read records, and import nothing of training."""
