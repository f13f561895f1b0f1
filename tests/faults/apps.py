"""Apps for workers that misbehave, or that say exactly what they did.

They are named on the command line as ``native:tests.faults.apps:…``; files are named by environment
variables, because a worker has nothing else from the test.
"""

from __future__ import annotations

import ctypes
import os
import socket
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from balancer.apps.demo import make_handler
from balancer.net.handoff import AnswerKind, HandoffReceiver

if TYPE_CHECKING:
    from balancer.http1.exchange import Exchange, Handler
    from balancer.net.handoff import Handoff

LEDGER = "LAB_LEDGER"
BROKEN = "LAB_BROKEN"


def _worker_id() -> int:
    return int(os.environ["BALANCER_WORKER_ID"])


def holding() -> Handler:
    """The demo, and ``/gil/SECONDS``, which keeps the GIL while it blocks."""
    demo = make_handler(_worker_id())

    async def handler(exchange: Exchange) -> None:
        if exchange.path.startswith(b"/gil/"):
            ctypes.PyDLL(None).sleep(int(exchange.path[5:]))
        await demo(exchange)

    return handler


def breakable() -> Handler:
    """The demo; while the file that LAB_BROKEN names exists, workers exit with 3 at their start."""
    if Path(os.environ[BROKEN]).exists():
        os._exit(3)
    return make_handler(_worker_id())


def crashing() -> Handler:
    """The demo, and ``/say/WORDS`` on stderr; while LAB_BROKEN exists, a crash with last words."""
    if Path(os.environ[BROKEN]).exists():
        os.write(2, b"C has something against its caller\n")
        ctypes.string_at(0)
    demo = make_handler(_worker_id())

    async def handler(exchange: Exchange) -> None:
        if exchange.path.startswith(b"/say/"):
            print(exchange.path[5:].decode(), file=sys.stderr)
            await exchange.respond(200, (), b"")
        else:
            await demo(exchange)

    return handler


def slow() -> Handler:
    """The demo; while the file that LAB_BROKEN names exists, workers take a minute to start."""
    if Path(os.environ[BROKEN]).exists():
        time.sleep(60)
    return make_handler(_worker_id())


def failing() -> Handler:
    """A factory that raises."""
    raise KeyError("nothing")


def dead() -> Handler:
    """No worker ever starts."""
    os._exit(3)


def accountable() -> Handler:
    """Answers with the worker's id, and writes into the ledger what happened to each connection.

    ``ack WORKER HOST PORT`` before each ack is sent, ``touch WORKER PATH`` before each answer.  A
    line is one write to an O_APPEND file: it is there entirely or not at all, whoever is killed.
    """
    worker = _worker_id()
    ledger = os.open(os.environ[LEDGER], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    _announce_acks(ledger, worker)
    answer = f"Hello from worker {worker} (pid {os.getpid()})\n".encode()

    async def handler(exchange: Exchange) -> None:
        os.write(ledger, b"touch %d %b\n" % (worker, exchange.path))
        await exchange.respond(200, (), answer)

    return handler


def _announce_acks(ledger: int, worker: int) -> None:
    receive, answer = HandoffReceiver.receive, HandoffReceiver.answer
    peers: dict[int, bytes] = {}

    def noting_receive(self: HandoffReceiver) -> Handoff | None:
        handoff = receive(self)
        if handoff is not None and handoff.fd is not None:
            peers[handoff.number] = _peer(handoff.fd)
        return handoff

    def noting_answer(self: HandoffReceiver, kind: AnswerKind, number: int = 0) -> None:
        peer = peers.pop(number, b"")
        if kind is AnswerKind.ACK:
            os.write(ledger, b"ack %d %b\n" % (worker, peer))
        answer(self, kind, number)

    HandoffReceiver.receive = noting_receive  # type: ignore[method-assign]
    HandoffReceiver.answer = noting_answer  # type: ignore[method-assign]


def _peer(fd: int) -> bytes:
    copy = socket.socket(fileno=os.dup(fd))
    with copy:
        try:
            host, port = copy.getpeername()
        except OSError:  # it has gone already
            return b"gone 0"
    return b"%b %d" % (host.encode(), port)


def growing() -> Handler:
    """The demo, and ``/grow/N``, which keeps N MiB more."""
    demo = make_handler(_worker_id())
    kept: list[bytes] = []

    async def handler(exchange: Exchange) -> None:
        if exchange.path.startswith(b"/grow/"):
            kept.append(b"x" * (int(exchange.path[6:]) << 20))
            await exchange.respond(200, (), b"grown\n")
        else:
            await demo(exchange)

    return handler


def raising() -> Handler:
    """Nothing but exceptions."""

    async def handler(_: Exchange) -> None:
        raise ZeroDivisionError("on purpose")

    return handler
