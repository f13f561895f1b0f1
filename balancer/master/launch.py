"""How this process was started, so that it can be started again: for ``balancer upgrade``.

The same command in the same folder, with the same environment, but read anew: a virtual environment
whose packages were replaced, a script that was edited, a folder that is now another release.  What
the master has changed since (``--chdir``, ``--env``) must not be in it, or would happen twice.

The folder is where ``$PWD`` leads today if that is where it led at the start: who deploys by
pointing a link ``current`` to the next release means the link (gunicorn and unicorn do the same).
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, final

import trio

from balancer.net.upgrade import VARIABLE

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Launch"]

LISTEN_FDS_START = 3
"""sd_listen_fds(3): the first descriptor that systemd passes."""


@final
@dataclass(frozen=True, slots=True)
class Launch:
    """A command that starts the next master.

    Attributes:
        argv: Beginning with the interpreter, by its path: it finds its packages by that.
        folder: Where it starts.
        env: Its environment.
        fds: What it inherits under the same numbers.
        obstacle: Why it can't be started, as the end of a sentence.
    """

    argv: tuple[str, ...] = ()
    folder: str = "."
    env: Mapping[str, str] = field(default_factory=dict)
    fds: tuple[int, ...] = ()
    obstacle: str | None = None

    @classmethod
    def of_this_process(cls) -> Launch:
        """Called before anything has changed."""
        env = {name: value for name, value in os.environ.items() if name != VARIABLE}
        return cls(
            argv=(sys.executable, *sys.orig_argv[1:]),
            folder=_folder(env),
            env=env,
            fds=_passed_by_systemd(env),
            obstacle=_obstacle(),
        )

    async def start(self, fd: int) -> trio.Process:
        """Start it with this end of the pair; OSError when that can't be."""
        return await trio.lowlevel.open_process(
            list(self.argv),
            cwd=self.folder,
            env={**self.env, VARIABLE: str(fd)},
            pass_fds=[fd, *(each for each in self.fds if _is_open(each))],
        )


def _folder(env: Mapping[str, str]) -> str:
    named = env.get("PWD", "")
    try:
        here = os.getcwd()
    except OSError:  # it has been removed, and may be there again by then
        return named or "/"
    try:
        if os.path.isabs(named) and os.path.samefile(named, here):
            return named
    except OSError:
        pass
    return here


def _passed_by_systemd(env: Mapping[str, str]) -> tuple[int, ...]:
    count = env.get("LISTEN_FDS", "")
    if env.get("LISTEN_PID") != str(os.getpid()) or not count.isdecimal():
        return ()
    return tuple(range(LISTEN_FDS_START, LISTEN_FDS_START + int(count)))


def _obstacle() -> str | None:
    if not sys.executable:
        return "nobody knows by which interpreter it was started"
    program = sys.argv[0] if sys.argv else ""
    if program == "-" or (program == "" and "-c" not in sys.orig_argv):
        return "its program came from standard input, and can't be read again"
    return None


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True
