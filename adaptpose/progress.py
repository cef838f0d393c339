"""How long work tells how far it is, without knowing who listens."""

from collections.abc import Callable

ProgressHook = Callable[[str, int, int], None]
"""Called as hook(stage, done, total) with counts of windows, samples or frames."""


def silent(stage: str, done: int, total: int) -> None:
    """The listener that does nothing."""
