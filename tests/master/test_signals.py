"""gunicorn's signals: what each of them asks for."""

from __future__ import annotations

import os
import signal
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import trio

from balancer.errors import RunError
from balancer.master.signals import SIGNALS, serve_signals
from tests.master.test_control import FakeCommands
from tests.support.wait import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest


@contextmanager
def as_before() -> Iterator[None]:
    """The handlers of the test runner come back."""
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


class Refusing(FakeCommands):
    async def upgrade(self, *, wait: bool = False) -> None:
        await super().upgrade(wait=wait)
        raise RunError("upgrade: not now")


CASES = [
    (signal.SIGTERM, ("stop", False), "SIGTERM: stopping"),
    (signal.SIGINT, ("stop", True), "SIGINT: stopping"),
    (signal.SIGQUIT, ("stop", True), "SIGQUIT: stopping"),
    (signal.SIGHUP, "reload", "SIGHUP: rolling restart"),
    (signal.SIGUSR1, "reopen", "SIGUSR1: reopening the log files"),
    (signal.SIGUSR2, "upgrade", "SIGUSR2: upgrade: not now"),
    (signal.SIGTTIN, ("scale", 1), None),
    (signal.SIGTTOU, ("scale", -1), None),
]


def _is_last(calls: list[object], call: object) -> bool:
    return calls[-1:] == [call]


async def test_each_signal_has_its_command(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "balancer")
    commands = Refusing()
    with as_before():
        async with trio.open_nursery() as nursery:
            await nursery.start(serve_signals, commands)
            for number, call, _ in CASES:
                os.kill(os.getpid(), number)
                await until(partial(_is_last, commands.calls, call))
                commands.calls.append("next")
            os.kill(os.getpid(), signal.SIGWINCH)  # a terminal sends it: it means nothing
            nursery.cancel_scope.cancel()
        # a second ^C of a server that has stopped is no reason to leave a pid file
        for number in SIGNALS:
            os.kill(os.getpid(), number)
    assert {number for number, _, _ in CASES} == set(SIGNALS)
    assert {line for _, _, line in CASES if line} <= set(caplog.messages)
