"""The signals of a running server, as gunicorn has them.

====================  ===========================================================================
TERM                  stop; requests finish, up to ``--graceful-timeout``.  Again: kill
INT, QUIT             stop without waiting for requests.  Again: kill
HUP                   reload: read the configuration again and roll the workers
USR1                  open the log files anew
USR2                  upgrade: start another master, and leave when it serves
TTIN, TTOU            a worker more, a worker less
WINCH                 nothing: in gunicorn it stops the workers of a daemon, which this never is,
                      and a terminal sends it when its window changes
====================  ===========================================================================

What they do is what the commands of the same names do; one that can't be done now is a line in the
log.
"""

from __future__ import annotations

import logging
import signal
from functools import partial
from typing import TYPE_CHECKING, Protocol

import trio

from balancer.errors import BalancerError
from balancer.net.early import release_signals

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["SIGNALS", "Signalled", "serve_signals"]

logger = logging.getLogger("balancer")


class Signalled(Protocol):
    """What signals ask for, as in ``master.control.Commands``."""

    async def reload(self) -> None: ...
    async def reopen(self) -> None: ...
    async def upgrade(self) -> None: ...
    async def scale(self, workers: int | None, *, by: int = 0) -> object: ...
    async def stop(self, *, quick: bool) -> None: ...


def _actions(to: Signalled) -> dict[signal.Signals, tuple[str, Callable[[], Awaitable[object]]]]:
    """What each signal does, and what the log says of it; nothing: what is done says it."""
    return {
        signal.SIGTERM: ("stopping", partial(to.stop, quick=False)),
        signal.SIGINT: ("stopping", partial(to.stop, quick=True)),
        signal.SIGQUIT: ("stopping", partial(to.stop, quick=True)),
        signal.SIGHUP: ("rolling restart", to.reload),
        signal.SIGUSR1: ("reopening the log files", to.reopen),
        signal.SIGUSR2: ("upgrading", to.upgrade),
        signal.SIGTTIN: ("", partial(to.scale, None, by=1)),
        signal.SIGTTOU: ("", partial(to.scale, None, by=-1)),
    }


SIGNALS = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGHUP,
    signal.SIGTTIN,
    signal.SIGTTOU,
    signal.SIGUSR1,
    signal.SIGUSR2,
)


async def serve_signals(to: Signalled, *, task_status: trio.TaskStatus[None]) -> None:
    """Do what signals say, until cancelled; from then on they mean nothing any more."""
    for each in SIGNALS:
        # What trio restores in the end: with the default, a second ^C would kill a server that
        # has stopped already, and leave its pid file.  Not SIG_IGN, which throws away what is
        # held until now.
        signal.signal(each, _ignore)
    actions = _actions(to)
    with trio.open_signal_receiver(*SIGNALS) as signals:
        release_signals()
        task_status.started()
        async for number in signals:
            name = signal.Signals(number).name
            said, act = actions[signal.Signals(number)]
            if said:
                logger.info("%s: %s", name, said)
            try:
                await act()
            except BalancerError as error:
                logger.warning("%s: %s", name, error)


def _ignore(_number: int, _frame: object) -> None:
    """A signal comes too late."""
