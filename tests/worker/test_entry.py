"""A worker process from its first instruction, and the SIGTERM that comes before its loop runs."""

from __future__ import annotations

import logging
import os
import signal
import socket
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import pytest

from balancer.core.messages import (
    Drain,
    FrameDecoder,
    Leaving,
    Quit,
    Ready,
    Spawn,
    WorkerConfig,
    WorkerMessage,
    encode_frame,
)
from balancer.net.channel import Channel
from balancer.net.handoff import HandoffSender
from balancer.net.slots import SlotTable
from balancer.settings import Interface
from balancer.worker import entry
from balancer.worker.app import App
from tests.net.children import exit_code, run_child

if TYPE_CHECKING:
    from collections.abc import Iterator

    from balancer.http1.exchange import Handler

DEADLINE = 5.0
APP = "native:tests.worker.test_entry:waiting()"
LINE = "TEST_WORKER_LINE"


def waiting() -> Handler:
    """The app's factory: says that it runs, with its blocked signals, and waits for a word."""
    line = int(os.environ[LINE])
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    os.write(line, b"blocked" if signal.SIGTERM in blocked else b"loading")
    os.read(line, 1)

    async def app(_exchange: object) -> None:
        pass

    return app


@final
@dataclass
class Booting:
    """The master's ends of a worker that loads its app."""

    pid: int
    line: socket.socket
    control: socket.socket

    def hear(self) -> list[WorkerMessage]:
        """All that it says until it ends."""
        decoder: FrameDecoder[WorkerMessage] = FrameDecoder(WorkerMessage)
        messages: list[WorkerMessage] = []
        while data := self.control.recv(65536):
            for message in decoder.feed(data):
                messages.append(message)
                if len(messages) == 2:
                    self.control.sendall(encode_frame(Drain(1.0)))
        return messages


@contextmanager
def booting(*, early: bool = False) -> Iterator[Booting]:
    sender = HandoffSender.pair()
    near, far = Channel.pair()
    line, theirs = socket.socketpair()
    table = SlotTable.create()

    def be_worker() -> None:
        near.close()
        line.close()
        os.environ[LINE] = str(theirs.fileno())
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # as in the fork server
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        if early:
            os.kill(os.getpid(), signal.SIGTERM)
        fds = [os.dup(sender.receiving_end), far.detach(), table.fd]
        spawn = Spawn(worker=1, slot=1, row=0, families=())
        os._exit(entry.main(WorkerConfig(app=APP, log_level="critical"), spawn, fds))

    pid = run_child(be_worker)
    far.close()
    theirs.close()
    near.settimeout(DEADLINE)
    line.settimeout(DEADLINE)
    try:
        yield Booting(pid, line, near)
    finally:
        line.close()
        near.close()
        sender.close()
        os.close(table.fd)


def test_term_while_the_app_loads_is_a_wish_to_leave_once_it_is_up() -> None:
    with booting() as worker:
        assert worker.line.recv(7) == b"loading"  # and what the app starts can be ended
        os.kill(worker.pid, signal.SIGTERM)
        worker.line.sendall(b"!")
        assert worker.hear() == [Ready(), Leaving("SIGTERM")]
        assert exit_code(worker.pid) == 0


def test_term_before_anything_else_is_kept_too() -> None:
    with booting(early=True) as worker:
        assert worker.line.recv(7) == b"loading"
        worker.line.sendall(b"!")
        assert worker.hear() == [Ready(), Leaving("SIGTERM")]
        assert exit_code(worker.pid) == 0


@pytest.mark.parametrize("why", ["quit", "eof"])
def test_with_a_quit_before_it_or_no_master_it_is_the_end_at_once(why: str) -> None:
    with booting() as worker:
        worker.line.recv(7)
        if why == "quit":
            worker.control.sendall(encode_frame(Quit()))
        else:
            worker.control.close()
        os.kill(worker.pid, signal.SIGTERM)
        assert exit_code(worker.pid) == -signal.SIGTERM


def test_threads_for_an_app_that_has_none_are_not_passed_over(
    caplog: pytest.LogCaptureFixture,
) -> None:
    logging.getLogger("balancer").propagate = True
    app = App("a:b", object(), Interface.STREAM, guessed=False)
    for threads in (1, 4):
        entry._describe(app, WorkerConfig(threads=threads))
    assert caplog.messages == [
        "--threads 4: has no effect on app a:b, which is STREAM: threads are for WSGI"
    ]
