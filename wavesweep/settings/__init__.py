"""The schema of all settings, the registry of what they may name, rules across fields, keys; loads no PyTorch.

Imports `runtime` and `errors`.
"""
