"""Temporary files beside the files that they become, and directories whose entries outlive a power cut.

A process holds the kernel's lock on its temporary file while it writes. So what a killed process left behind can be
told from what another one is writing now, and is swept away by whoever comes next.
"""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

try:
    import fcntl
except ImportError:  # not on Windows, where nothing is swept away
    fcntl = None  # type: ignore[assignment]

_NAME = re.compile(r"\.(?P<target>.+)\.[0-9a-f]{32}")
# What file systems say that cannot flush a directory, or do not let it be opened for that.
_NO_DIRECTORY_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EACCES, errno.EPERM, errno.EROFS)


@contextmanager
def temporary_beside(path: Path) -> Iterator[Path]:
    """A new file that is to become `path`; gone at the end, unless it was renamed."""
    # Not by `tempfile`, whose files only their owner may read: others share the outputs directory.
    while True:
        temporary = path.with_name(f".{path.name}.{uuid4().hex}")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        if _hold(descriptor, temporary):
            break
        os.close(descriptor)  # another process took it for one left behind, before it was held
    try:
        yield temporary
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    finally:
        if fcntl is not None:
            os.close(descriptor)


def _hold(descriptor: int, path: Path) -> bool:
    """Lock a file that was just made; false if it is not there any more."""
    if fcntl is None:
        os.close(descriptor)  # a file that is open could not be renamed there
        return True
    with suppress(OSError):  # a file system without locks: nothing is swept away there
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        return path.stat().st_ino == os.fstat(descriptor).st_ino
    except FileNotFoundError:
        return False


def sweep_temporaries(directory: Path, target: str | None = None) -> None:
    """Remove the temporary files in `directory`, or those of one target there, whose process is gone."""
    if fcntl is None:
        return
    with suppress(OSError):
        for entry in os.scandir(directory):
            found = _NAME.fullmatch(entry.name)
            if found is not None and target in (None, found["target"]) and entry.is_file(follow_symlinks=False):
                _remove_if_free(Path(entry.path))


def _remove_if_free(path: Path) -> None:
    with suppress(OSError):  # held, renamed meanwhile, or another user's
        descriptor = os.open(path, os.O_RDWR)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
        finally:
            os.close(descriptor)


def make_directory(path: Path) -> None:
    """Make a directory and those above it, so that they are still there after a power cut."""
    missing = [one for one in (path, *path.parents) if not one.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for one in missing:
        sync_directory(one.parent)


def sync_directory(path: Path) -> None:
    """Put the names in a directory on the disk, where the file system can: a renamed file is safe only then."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in _NO_DIRECTORY_SYNC:
            raise
