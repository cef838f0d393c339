"""Errors that are the user's to mend: each names the thing, what was expected, what came, the fix.

The command line turns an `AdaptError` into its message and exit status 2, without a traceback.
"""

import difflib
from collections.abc import Iterable


class AdaptError(Exception):
    """Something outside the program is not as it must be; the message says what to do."""


class ConfigError(AdaptError):
    """A flag, a configuration key or a combination of them is wrong."""


class DataError(AdaptError):
    """A file or dataset is missing, damaged, foreign, or holds impossible values."""


class SkeletonError(DataError):
    """Joints do not fit: wrong count, wrong order, a name that is not there."""


class CheckpointError(AdaptError):
    """A checkpoint or run directory is missing, damaged, newer, or of another model."""


def expected_message(thing: str, expected: str, got: str, fix: str = "") -> str:
    """One message in the house's form: `thing: expected ..., got ... (fix: ...)`."""
    return f"{thing}: expected {expected}, got {got}" + (f" (fix: {fix})" if fix else "")


def unknown_name_message(what: str, name: str, known: Iterable[str]) -> str:
    """Message for a name that is not known, with the nearest known one and the whole list."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    return f"unknown {what} '{name}'{hint} (known: {', '.join(names)})"
