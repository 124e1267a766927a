"""From records to tables, statistics, charts, the report and studies; loads no PyTorch.

Imports record reading (`runtime`), `settings` and the arithmetic of fronts (`measure.fronts`).
"""
