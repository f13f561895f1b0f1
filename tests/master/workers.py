"""Scripted workers for the tests of the supervisor; the fork server calls ``main`` in each child.

``app`` is a list of words, one for each worker by id, the last one for all that follow:

=========  =====================================================================================
serve      ready, then answers every connection with its id, and does what the master says
exit       exits with 3 before it is ready
boot, app  says that it can't start (for ``app``: because of the app), and exits
hang       is never ready
crash      is ready, then kills itself
garbage    is ready, then says what is no message
deaf       is ready, then does nothing, not even beat
leaving    serves, and asks to be replaced
term       serves, and asks to leave at once, as on SIGTERM
grow       serves, and has 64 MiB more after half a second
=========  =====================================================================================
"""

from __future__ import annotations

import os
import select
import signal
import socket
import time
from typing import TYPE_CHECKING

from balancer.core.messages import (
    BootFailed,
    Drain,
    Drained,
    FrameDecoder,
    Leaving,
    Ready,
    WorkerRequest,
    encode_frame,
)
from balancer.errors import AppError
from balancer.net.handoff import AnswerKind, HandoffReceiver
from balancer.net.slots import SlotTable, SlotWriter

if TYPE_CHECKING:
    from balancer.core.messages import Spawn, WorkerConfig, WorkerMessage

FAILURES = {
    "boot": BootFailed("no database"),
    "app": BootFailed("app x: can't import x", app=True),
}
WISHES = {"leaving": Leaving("max-requests", replace_first=True), "term": Leaving("SIGTERM")}


def warm(_config: WorkerConfig) -> None:
    """Nothing is needed."""


def preload(config: WorkerConfig) -> None:
    """With ``--preload`` the app is imported here."""
    if config.app == "app":
        raise AppError("app x: can't import x")


def main(config: WorkerConfig, spawn: Spawn, fds: list[int]) -> int:
    """Play one part."""
    words = (config.app or "serve").split()
    part = words[min(spawn.worker, len(words)) - 1]
    pair, channel, table, *_ = fds
    control = socket.socket(fileno=channel)
    if part in FAILURES:
        _say(control, FAILURES[part])
    if part in {"exit", *FAILURES}:
        return 3
    if part == "hang":
        time.sleep(60)
    _say(control, Ready())
    if part == "crash":
        os.kill(os.getpid(), signal.SIGKILL)
    if part == "garbage":
        control.sendall(b"\xff" * 16)
    if part in {"deaf", "garbage"}:
        time.sleep(60)
    if part in WISHES:
        _say(control, WISHES[part])
    receiver = HandoffReceiver(socket.socket(fileno=pair))
    slot = SlotWriter(SlotTable(table).row(spawn.row))
    _serve(spawn.worker, control, receiver, slot, grows=part == "grow")
    return 0


def _say(control: socket.socket, message: WorkerMessage) -> None:
    control.sendall(encode_frame(message))


def _serve(
    worker: int,
    control: socket.socket,
    receiver: HandoffReceiver,
    slot: SlotWriter,
    *,
    grows: bool,
) -> None:
    decoder: FrameDecoder[WorkerRequest] = FrameDecoder(WorkerRequest)
    kept, start = b"", time.monotonic()
    while True:
        if grows and not kept and time.monotonic() - start > 0.5:
            kept = b"x" * (64 << 20)
        slot.beat()
        ready, _, _ = select.select([control.fileno(), receiver.fileno()], [], [], 0.1)
        if receiver.fileno() in ready:
            _answer(worker, receiver)
        if control.fileno() in ready:
            data = control.recv(4096)
            if not data or not all(_stays(control, each) for each in decoder.feed(data)):
                return


def _stays(control: socket.socket, request: WorkerRequest) -> bool:
    if isinstance(request, Drain) and not request.leave:
        _say(control, Drained())
        return True
    return False


def _answer(worker: int, receiver: HandoffReceiver) -> None:
    try:
        handoff = receiver.receive()
    except BlockingIOError:
        return
    if handoff is not None and handoff.fd is not None:
        receiver.answer(AnswerKind.ACK, handoff.number)
        with socket.socket(fileno=handoff.fd) as connection:
            connection.sendall(str(worker).encode())
