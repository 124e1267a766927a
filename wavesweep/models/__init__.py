"""The model zoo, and loading of a user's own networks."""
