"""What can go wrong before and while serving, each with the exit code that a shell sees.

A ``BalancerError`` is for a person: its text is one sentence that names the flag or key and the
value, and what to do.  The command line prints it on stderr without a traceback.
"""

from __future__ import annotations

from enum import IntEnum

__all__ = [
    "AppError",
    "BalancerError",
    "BootError",
    "ExitCode",
    "InWorkerError",
    "RunError",
    "UsageError",
]


class ExitCode(IntEnum):
    """The exit codes of ``balancer``; 3 and 4 are gunicorn's."""

    OK = 0
    RUN = 1
    USAGE = 2
    BOOT = 3
    APP = 4


class BalancerError(Exception):
    """An error that a user can act on; the text is the whole message.

    ``details`` are lines to be shown below it: the traceback of the user's own code.
    """

    exit_code = ExitCode.RUN

    def __init__(self, text: str, details: str = "") -> None:
        super().__init__(text)
        self.details = details


class RunError(BalancerError):
    """The server can't run here and now: an address is taken, a path can't be written."""


class UsageError(BalancerError):
    """A flag, a key or an environment variable has a value that makes no sense."""

    exit_code = ExitCode.USAGE


class BootError(BalancerError):
    """No worker ever became ready."""

    exit_code = ExitCode.BOOT


class InWorkerError(BalancerError, RuntimeError):
    """A server was asked for inside one of its own workers."""

    exit_code = ExitCode.APP

    def __init__(self, what: str) -> None:
        super().__init__(
            f"{what} was called in a worker, while it imports the app or later: put the call under "
            'if __name__ == "__main__":'
        )


class AppError(BalancerError):
    """The app can't be imported or called."""

    exit_code = ExitCode.APP
