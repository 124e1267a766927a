"""From records to tables, statistics, charts, the report and studies; loads no PyTorch.

The modules here are the commands, `python -m wavesweep.analysis.report outputs/`; what they do lies in the folders.
Imports record reading (`runtime`), `settings`, `errors` and the arithmetic of fronts (`measure.fronts`).
"""
