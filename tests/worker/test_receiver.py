"""What a connection leaves behind in the task that received it."""

from __future__ import annotations

import contextvars
import os
import socket

import pytest
import trio
import trio.testing

from balancer.core.admission import Admission
from balancer.net.handoff import HandoffReceiver, HandoffSender
from balancer.net.slots import SlotTable, SlotWriter
from balancer.worker.receiver import Receiver

USER: contextvars.ContextVar[str] = contextvars.ContextVar("USER", default="nobody")


@pytest.mark.parametrize("waits", [False, True], ids=["never waits", "waits"])
async def test_no_connection_sees_the_context_of_another(waits: bool) -> None:
    seen = []

    async def serve(sock: socket.SocketType, _lane: int) -> None:
        seen.append(USER.get())
        USER.set(f"user {len(seen)}")
        if waits:
            await trio.lowlevel.checkpoint()
        sock.close()

    sender = HandoffSender.pair()
    pair = HandoffReceiver(socket.socket(fileno=os.dup(sender.receiving_end)))
    slot = SlotWriter(SlotTable.create(rows=1).row(0))
    receiver = Receiver(pair, Admission(10), slot, (int(socket.AF_UNIX),), serve)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        async with trio.open_nursery() as nursery:
            receiver.start(nursery)
            for number in range(3):
                sender.send(number, 0, theirs.fileno())
                await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
    sender.close()
    pair.close()
    assert seen == ["nobody"] * 3
