"""Signals that come before there are handlers, where the kernel would throw them away.

That is in process 1, which is what a server in a container often is: a signal whose action is the
default is dropped there.  One that is blocked waits.  So a ``docker stop`` in the first half second
is obeyed when the server has got so far, and isn't killed for after ten.

Nothing is imported here that takes time.
"""

from __future__ import annotations

import os
import signal

__all__ = ["hold_signals", "release_signals"]

HELD = (signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP)
"""SIGINT has Python's handler from the first."""


def hold_signals() -> None:
    """Let them wait, in process 1."""
    if os.getpid() == 1:
        signal.pthread_sigmask(signal.SIG_BLOCK, HELD)


def release_signals() -> None:
    """There are handlers now."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD)
