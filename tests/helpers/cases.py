"""Many cases of one assertion in one test, of which a failing one is named."""

from contextlib import contextmanager


@contextmanager
def case(*what):
    """Name the case in the message of whatever fails inside."""
    try:
        yield
    except Exception as error:
        name = ", ".join(map(str, what))
        raise AssertionError(f"{name}: {type(error).__name__}: {error}") from error
