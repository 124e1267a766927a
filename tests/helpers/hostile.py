"""Making broken files whose checksums are right, and loading them."""

import json
import resource
import struct
import time
from pathlib import Path

from wavesweep.codec.container import join, read_container
from wavesweep.codec.limits import DEFAULT_LIMITS, Limits
from wavesweep.codec.model_file import unpack
from wavesweep.codec.short_header import shorten
from wavesweep.codec.tensors import state_dict
from wavesweep.errors import FileFormatError

CODED = {"kind": "coded", "name": "w", "shape": [4, 4], "basis": {"kind": "identity"}, "values": {"steps": [0.5]}}
HEAD_ONLY = struct.pack("<BiBQ", 0, 0, 0, 0)  # coder none: zeros in no bits at all
# Far more than any of these files needs, far less than what they may declare.
LIMITS = Limits(numbers=1 << 20)


def load(content, limits=LIMITS):
    """Everything that is done with a file; what it holds, or None if it was refused."""
    try:
        return state_dict(unpack(content, limits)[0])
    except FileFormatError as error:
        text = str(error)
    assert "\n" not in text
    assert len(text) < 1000
    return None


def cost(content):
    """What is done with a file under the default limits: what it holds or None, CPU seconds, and bytes at the peak."""
    started = time.process_time()
    found, peak_bytes = memory_of(lambda: load(content, DEFAULT_LIMITS))
    return found, time.process_time() - started, peak_bytes


def memory_of(work):
    """What some work gives, and the bytes of memory that it took at its peak."""
    reset = Path("/proc/self/clear_refs")
    if reset.exists():
        reset.write_text("5")  # the peak begins anew
    before = resident("VmRSS")
    return work(), resident("VmHWM") - before


def resident(field):
    """Bytes of this process in memory now (VmRSS) or at the peak (VmHWM)."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    (line,) = (line for line in status.read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024


def rebuilt(content, change):
    """The file with its header, as it is stored, changed in place by `change`, and checksums that are right."""
    header, streams = read_container(content)
    header = shorten(header)
    streams = change(header) or streams
    return join(json.dumps(header).encode(), tuple(streams))  # with NaN, unlike write_container
