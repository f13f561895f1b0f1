"""What goes wrong while a cell is measured, from the end of the warm-up on."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from time import monotonic
from typing import TYPE_CHECKING, final

from benchmarks.harness.background import Background
from benchmarks.study.workloads import Trouble

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from benchmarks.harness.servers import Server
    from benchmarks.study.workloads import Workload

__all__ = ["NoTrouble", "trouble_for"]


_COMES_BACK = 0.5
"""Seconds after which a worker that goes on is one of the others again."""


class NoTrouble(Background):
    """Nothing happens, or it happens by the requests themselves (a slow worker)."""

    def work(self) -> None:
        return


@final
class Blocked(Background):
    """One request blocks whoever gets it for ``seconds``, every other ``seconds``.

    It is no part of the load and its answer is nobody's.
    """

    def __init__(self, server: Server, seconds: float) -> None:
        super().__init__()
        self._server, self._seconds = server, seconds

    def work(self) -> None:
        request = f"GET /block/{self._seconds:g} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
        with contextlib.ExitStack() as kept:
            at = monotonic()
            while True:
                address = ("127.0.0.1", self._server.port)
                sock = kept.enter_context(socket.create_connection(address, timeout=5.0))
                sock.sendall(request)
                self._server.busy_until = monotonic() + self._seconds
                at += 2 * self._seconds
                if not self.pause(at):
                    return


@final
class Stopped(Background):
    """A worker is stopped, and goes on after ``seconds``, or when the measurement is over."""

    def __init__(self, server: Server, pid: int, seconds: float) -> None:
        super().__init__()
        self._server, self._pid, self._seconds = server, pid, seconds

    def work(self) -> None:
        try:
            os.kill(self._pid, signal.SIGSTOP)
            self.pause(monotonic() + self._seconds)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGCONT)
            self._server.busy_until = monotonic() + _COMES_BACK


def trouble_for(workload: Workload, server: Server, pid: int) -> AbstractContextManager[Background]:
    """The trouble of a workload; ``pid`` is the worker that it befalls, where that is chosen."""
    if workload.trouble is Trouble.BLOCKED:
        return Blocked(server, workload.severity)
    if workload.trouble is Trouble.STOPPED:
        return Stopped(server, pid, workload.severity)
    return NoTrouble()
