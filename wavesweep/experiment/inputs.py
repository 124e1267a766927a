"""Digests of the files that settings only name, for the keys of records.

PyTorch, which takes seconds to import, is loaded only for folders, the user's own data and trained weights: of others,
a sweep whose records are all there never loads it.
"""

import hashlib
from functools import lru_cache
from pathlib import Path

from wavesweep.errors import SettingsError
from wavesweep.models.shards import files_of_index, is_index
from wavesweep.runtime.terminal import short_name
from wavesweep.settings import registry
from wavesweep.settings.keys import hash_of
from wavesweep.settings.schema import Settings

_CHECKPOINTS = (".safetensors", ".index.json", ".pt", ".pth", ".ckpt", ".bin")


def input_digests(settings: Settings) -> dict[str, str]:
    """What stands for checkpoint, trained weights, the user's data and the sensitivity table in the key of a trial.

    Raises:
        SettingsError: a file cannot be read.
    """
    digests = {}
    data_set = registry.rows(registry.DataSet).get(settings.dataset.name)
    if data_set is not None and data_set.is_open:
        from wavesweep.data.datasets import form_of_folder, load_dataset

        # A folder is known by its listing; images are decoded when they are needed.
        folder = form_of_folder(settings)
        digests["dataset"] = (load_dataset(settings).digest or "") if folder is None else folder.digest
    if settings.model.checkpoint is not None:
        digests["checkpoint"] = checkpoint_digest(settings.model.checkpoint)
    if settings.model.weights is not None:
        from wavesweep.models.pretrained import weights_file

        digests["weights"] = weights_file(settings.model)
    if settings.threshold.allocation == "sensitivity":
        remedy = "python -m wavesweep -m experiment=sensitivity with the same model and dataset makes one"
        digests["sensitivity"] = _file_digest("threshold.sensitivity", settings.threshold.sensitivity or "", remedy)
    return digests


def checkpoint_digest(path: str) -> str:
    """The digest of a checkpoint's content; of an index that of the files that it names as well.

    Raises:
        SettingsError: it cannot be read.
    """
    key, remedy = "model.checkpoint", _of_directory(path) or "give an existing file"
    own = _file_digest(key, path, remedy)
    if not is_index(path):
        return own
    return hash_of([own, *(_file_digest(key, str(file), remedy) for file in files_of_index(path))])


def _of_directory(path: str) -> str | None:
    """Where a directory is given, as Hugging Face saves networks, the files in it that may be the checkpoint."""
    try:
        names = sorted(entry.name for entry in Path(path).iterdir() if entry.name.endswith(_CHECKPOINTS))
    except OSError:
        return None
    found = f"give a file in it: {', '.join(map(short_name, names[:5]))}" if names else None
    return found or "give a file: it holds no checkpoint"


def _file_digest(key: str, path: str, remedy: str) -> str:
    try:
        found = Path(path).stat()
        return _digest(path, found.st_size, found.st_mtime_ns)
    except OSError as error:
        raise SettingsError(key, path, f"cannot be read ({error.strerror})", remedy) from None


@lru_cache
def _digest(path: str, size_bytes: int, modified_ns: int) -> str:
    """Of the file as it was then: every point of a sweep names the same one, which may be large."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
