"""Trials, and networks of a caller's, on a pretended device, in a process of their own.

    python on_pretend_device.py OUTPUTS NAME...

Prints JSON: the record of each of `ON_DEVICES` that is named; the files of each of `CALLERS`, with data on the CPU and
on the device.
"""

import json
import sys
from pathlib import Path

import torch
from pretend_device import pretend_device
from retrainings import CALLERS, CPU, ON_DEVICES, compressed_of, settings_of

from wavesweep.compression import callers
from wavesweep.experiment import trial


def main() -> None:
    outputs = Path(sys.argv[1])
    torch.set_num_threads(1)
    device = pretend_device()
    trial.choose_device = callers.choose_device = lambda _name: device
    records = {name: trial.run_trial(settings_of(outputs, **ON_DEVICES[name])) for name in sys.argv[2:]}
    files = [[compressed_of(overrides, device, data).hex() for data in (CPU, device)] for overrides in CALLERS]
    print(json.dumps({"records": records, "files": files}))


if __name__ == "__main__":
    main()
