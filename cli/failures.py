"""What a command's failure becomes: one message on stderr and an exit code, no traceback.

Exit codes: 0 done, 2 something the user can mend, 130 stopped by the user.
"""

import errno
import functools
import os
import sys
from collections.abc import Callable
from typing import Any

import typer

from adaptpose.errors import AdaptError

USER_ERROR = 2
"""Exit code of failures the user can mend; usage errors have it too."""
INTERRUPTED = 130
"""Exit code of a run the user stopped."""

_RESUME = "(fix: free space, then go on with --resume)"


def guarded(name: str, command: Callable[..., None]) -> Callable[..., None]:
    """The command with expected failures turned into `adapt <name>: message` and an exit code.

    Failures that are ours pass through, so that their traceback can be reported.
    """

    @functools.wraps(command)
    def run(*arguments: Any, **options: Any) -> None:
        try:
            command(*arguments, **options)
        except (AdaptError, KeyboardInterrupt, MemoryError, OSError, RuntimeError) as error:
            message, code = _explain(error)
            if message is None:
                raise
            if message:
                print(f"adapt {name}: {message}", file=sys.stderr)
            raise typer.Exit(code) from error

    return run


def _explain(error: BaseException) -> tuple[str | None, int]:
    """The message of a failure and the exit code.

    No message (None) marks a fault of the program, an empty one a failure nobody need hear of.
    """
    if isinstance(error, AdaptError):
        return str(error), USER_ERROR
    if isinstance(error, KeyboardInterrupt):
        return "stopped; go on with --resume", INTERRUPTED
    if _out_of_memory(error):
        return "out of memory (fix: a smaller batch size, or --device cpu)", USER_ERROR
    if isinstance(error, BrokenPipeError):
        _silence_stdout()
        return "", 1
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{error.filename or 'disk'}: no space left {_RESUME}", USER_ERROR
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror} (fix: check the path)", USER_ERROR
    return None, 1


def _out_of_memory(error: BaseException) -> bool:
    # torch raises RuntimeError on the CPU, and a subclass of it on accelerators.
    words = ("out of memory", "can't allocate memory", "not enough memory")
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(word in str(error).lower() for word in words)
    )


def _silence_stdout() -> None:
    # The interpreter flushes stdout at exit and would complain about the closed pipe again.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
