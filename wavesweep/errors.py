"""The errors that a user can cause or meet; each prints as one line, without a traceback."""


class WavesweepError(Exception):
    """Base of all errors that are reported as one line."""


class SettingsError(WavesweepError):
    """A setting is wrong; nothing was trained.

    The message names the key, its value, what is allowed and, where it is not obvious, what to do.
    """

    def __init__(self, key: str, value: object, allowed: str, remedy: str = "") -> None:
        self.key = key
        text = f"{key}={value}: {allowed}"
        super().__init__(f"{text}; {remedy}" if remedy else text)

    @classmethod
    def from_text(cls, text: str, key: str = "") -> "SettingsError":
        """An error whose message is `text`, as it is."""
        return _rebuild(cls, text, key)

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions travel between joblib's processes; rebuild from the finished text.
        return (_rebuild, (SettingsError, str(self), self.key))


class TrialError(WavesweepError):
    """A trial cannot give a result (it transforms nothing, its loss is NaN); it is recorded as failed."""


class ShortMemoryError(WavesweepError):
    """Memory, of the machine or its GPU, did not suffice, which may be otherwise next time: nothing is recorded."""


class DeviceError(WavesweepError):
    """The GPU failed in a way after which this process can no longer use it, so it ends."""


class StoppedEarlyError(WavesweepError):
    """A search gave the trial up before it was finished (Optuna calls it pruned); nothing is recorded."""


class StoreError(WavesweepError):
    """Records cannot be read or written (full disk, read-only directory); finished trials stay intact."""


class FileFormatError(WavesweepError):
    """A compressed file is truncated, damaged, of another version, or does not fit the model."""


class BusyError(WavesweepError):
    """Another process is computing this trial, or what it shares with other trials, at the moment."""


def _rebuild(kind: type[SettingsError], text: str, key: str) -> SettingsError:
    error = kind.__new__(kind)
    Exception.__init__(error, text)
    error.key = key
    return error
