"""Where Optuna keeps a study: SQLite, a journal file on a shared file system, or a database server."""

import os
import re
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote, unquote, urlsplit

from filelock import FileLock
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from wavesweep.errors import SettingsError, StoreError
from wavesweep.runtime.shapes import DamagedError, JournalOperation, checked

_SCHEMES = "sqlite:///PATH, journal:///PATH or postgresql://USER@HOST/DATABASE"

# Its limit is 512, with an ending for its own journal.
_SQLITE_PATH_BYTES = 500


class _Journal(JournalFileBackend):
    """A journal that continues after a kill, or a power cut, in the middle of a line."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._kernel_lock = FileLock(path.with_name(f"{path.name}.lock"))
        self._next = (0, 0)  # the number of lines that were read, and where the next one begins
        self.last_worker = ""
        super().__init__(str(path), lock_obj=_KernelLock(self._kernel_lock))

    def read_logs(self, log_number_from: int) -> Generator[dict[str, Any], None, None]:
        """The operations from that number on; Optuna's own reader would stumble over a damaged one.

        Raises:
            StoreError: a line is no operation; the message names it.
        """
        number, start = self._next if self._next[0] <= log_number_from else (0, 0)
        with self._path.open("rb") as file:
            file.seek(start)
            for line in file:
                if not line.endswith(b"\n"):  # of a process that was killed, or is writing it now
                    return
                start += len(line)
                number += 1
                if number <= log_number_from:
                    continue
                self._next = number, start
                try:
                    operation = checked(line, JournalOperation)
                except DamagedError as error:
                    raise self.damaged(str(error)) from None
                self.last_worker = str(operation["worker_id"])
                yield operation

    def damaged(self, reason: str) -> StoreError:
        """The error for the line that was read last."""
        return StoreError(
            f"search.storage: line {self._next[0]} of {self._path} is damaged ({' '.join(reason.split())}); remove "
            "that line, or begin a new study with search.study=NAME search.warm_start=true, which takes over all "
            "finished trials"
        )

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Add whole lines; what is left of one that nobody could have read is removed before."""
        with self._kernel_lock, self._path.open("rb+") as file:
            end = file.seek(0, os.SEEK_END)
            start = end
            while start and _last_byte(file, start) != b"\n":
                start -= 1
            if start < end:
                file.truncate(start)
            super().append_logs(logs)


def _last_byte(file: BinaryIO, end: int) -> bytes:
    file.seek(end - 1)
    return file.read(1)


class _JournalStorage(JournalStorage):
    """Optuna's, with a line for what it cannot make sense of when it applies the operations of a journal."""

    def __init__(self, journal: _Journal) -> None:
        self._journal = journal
        super().__init__(journal)

    def _sync_with_backend(self) -> None:
        try:
            super()._sync_with_backend()
        except (LookupError, TypeError, ValueError, AttributeError, AssertionError, RuntimeError) as error:
            if self._journal.last_worker.startswith(self._worker_id_prefix):
                raise  # what this process wrote just now is refused: the trial has ended meanwhile, say
            raise self._journal.damaged(f"Optuna cannot apply it: {type(error).__name__}") from None


class _KernelLock(JournalFileOpenLock):
    """A lock that goes with its process. Optuna's own are files, which a killed process leaves behind."""

    def __init__(self, lock: FileLock) -> None:
        self._of_kernel = lock

    def acquire(self) -> bool:
        """Wait for the lock."""
        self._of_kernel.acquire()
        return True

    def release(self) -> None:
        """Give it back."""
        self._of_kernel.release()


def storage_url(url: str | None, directory: Path) -> str:
    """The URL of a study's storage: as given, or SQLite in the study's directory.

    Raises:
        SettingsError: it would keep the study in memory.
    """
    if url:
        _check_kept(url)
    return url or f"sqlite:///{quote(str(directory.absolute() / 'study.db'))}"  # a path may hold ? and %


def without_password(url: str) -> str:
    """The URL without its password."""
    return re.sub(r"(://[^:/@]*):[^@/]*@", r"\1:***@", url)


def _check_kept(url: str) -> None:
    """Refuse SQLite in memory, which forgets the study when its process ends."""
    scheme, _, path = url.partition("://")
    if scheme.partition("+")[0] != "sqlite":
        return
    place, _, options = unquote(path.removeprefix("/")).partition("?")
    name = place.removeprefix("file:")
    if name in ("", ":memory:") or "mode=memory" in options.split("&"):
        allowed = "keeps the study in memory, where it ends with this process"
        raise SettingsError("search.storage", url, allowed, "leave it out, or give sqlite:////ABSOLUTE/PATH.db")


def open_storage(url: str) -> BaseStorage:
    """Open, or make, the storage at `url`.

    Raises:
        SettingsError: the URL cannot be understood, or needs a driver that is not installed.
        SQLAlchemyError: nothing answers there.
    """
    scheme, _, path = url.partition("://")
    if scheme == "journal":
        file = Path(unquote(urlsplit(url).path)).absolute()
        if not path.startswith("/"):
            raise SettingsError(
                "search.storage",
                without_password(url),
                "must be journal:///ABSOLUTE/PATH",
                "begin the path with a slash",
            )
        with _usable(url):
            file.parent.mkdir(parents=True, exist_ok=True)
            return _JournalStorage(_Journal(file))
    arguments: dict[str, Any] = {"pool_pre_ping": True}  # a connection that idled through a long trial may be gone
    if scheme == "sqlite":
        with _usable(url):
            file = Path(unquote(path.removeprefix("/").partition("?")[0]))
            if len(os.fsencode(file.absolute())) > _SQLITE_PATH_BYTES:
                allowed = f"must have a path of at most {_SQLITE_PATH_BYTES} bytes, as SQLite takes no longer one"
                remedy = "choose a shorter paths.outputs, or search.storage=journal:///PATH"
                raise SettingsError("search.storage", without_password(url), allowed, remedy)
            file.parent.mkdir(parents=True, exist_ok=True)
        arguments = {"connect_args": {"timeout": 60}}  # seconds to wait while another process writes
    # Version 3 of psycopg; what SQLAlchemy takes by itself depends on its own version.
    address = f"postgresql+psycopg://{path}" if scheme == "postgresql" else url
    try:
        return RDBStorage(address, engine_kwargs=arguments)
    except (ArgumentError, NoSuchModuleError, ValueError):
        raise SettingsError("search.storage", without_password(url), f"must be {_SCHEMES}") from None
    except ImportError as error:
        remedy = 'pip install "wavesweep[postgresql]"' if scheme.startswith("postgresql") else "install it"
        raise SettingsError(
            "search.storage", without_password(url), f"needs a driver: {' '.join(str(error).split())}", remedy
        ) from None
    except RuntimeError as error:  # a version of Optuna that wrote other tables
        raise SettingsError(
            "search.storage", without_password(url), " ".join(str(error).split()), "choose another storage"
        ) from None


@contextmanager
def reporting_storage_errors(url: str) -> Iterator[None]:
    """Turn what a storage, or the way to it, fails with into one line.

    Raises:
        StoreError: it does not answer, or cannot be read or written.
    """
    try:
        yield
    except (SQLAlchemyError, StorageInternalError) as error:
        known = error.__cause__ if isinstance(error, StorageInternalError) and error.__cause__ else error
        reason = " ".join(str(getattr(known, "orig", None) or known).split("\n")[0].split())
        raise StoreError(
            f"search.storage={without_password(url)}: {reason}; what is there is kept, so mend it, or start the "
            "database, and run the same command again"
        ) from None


@contextmanager
def _usable(url: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = f"cannot be written ({error.strerror})"
        raise SettingsError("search.storage", without_password(url), reason, "choose another place") from None
