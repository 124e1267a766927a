"""Where Optuna keeps a study: SQLite, a journal file on a shared file system, or a database server."""

from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from filelock import FileLock
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.storages.journal._file import BaseJournalFileLock
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from wavesweep.errors import SettingsError, StoreError

_SCHEMES = "sqlite:///PATH, journal:///PATH or postgresql://USER@HOST/DATABASE"


class _KernelLock(BaseJournalFileLock):
    """A lock that goes with its process. Optuna's own is a file, which a killed process leaves behind."""

    def __init__(self, path: Path) -> None:
        self._lock = FileLock(path)

    def acquire(self) -> bool:
        """Wait for the lock."""
        self._lock.acquire()
        return True

    def release(self) -> None:
        """Give it back."""
        self._lock.release()


def storage_url(url: str | None, directory: Path) -> str:
    """The URL of a study's storage: as given, or SQLite in the study's directory."""
    return url or f"sqlite:///{directory.absolute() / 'study.db'}"


def open_storage(url: str) -> BaseStorage:
    """Open, or make, the storage at `url`.

    Raises:
        SettingsError: the URL cannot be understood, or needs a driver that is not installed.
        StoreError: nothing answers there.
    """
    scheme, _, path = url.partition("://")
    if scheme == "journal":
        file = Path(unquote(urlsplit(url).path)).absolute()
        if not path.startswith("/"):
            raise SettingsError(
                "search.storage", url, "must be journal:///ABSOLUTE/PATH", "begin the path with a slash"
            )
        file.parent.mkdir(parents=True, exist_ok=True)
        return JournalStorage(JournalFileBackend(str(file), lock_obj=_KernelLock(file.with_name(f"{file.name}.lock"))))
    arguments: dict[str, Any] = {}
    if scheme == "sqlite":
        Path(path.lstrip("/") if not path.startswith("//") else path[1:]).parent.mkdir(parents=True, exist_ok=True)
        arguments = {"connect_args": {"timeout": 60}}  # seconds to wait while another process writes
    try:
        return RDBStorage(url, engine_kwargs=arguments)
    except (ArgumentError, NoSuchModuleError, ValueError):
        raise SettingsError("search.storage", url, f"must be {_SCHEMES}") from None
    except ImportError as error:
        remedy = 'pip install "wavesweep[postgresql]"'
        raise SettingsError("search.storage", url, f"needs a driver: {' '.join(str(error).split())}", remedy) from None
    except SQLAlchemyError as error:
        reason = str(getattr(error, "orig", None) or error).split("\n")[0]
        raise StoreError(f"search.storage={url}: {reason}; start the database or choose another storage") from None
