"""What workers send to the program, and the end of it.

A worker's messages are read as fast as the observer has room for them, so that a worker that sends
more than anybody reads waits in its own ``send``.  Only its last ones, of which there are as many
as a socket holds, are read whatever room there is.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import trio

from balancer.core.messages import ProtocolError

if TYPE_CHECKING:
    from balancer.master.plan import Observer
    from balancer.master.worker import WorkerHandle
    from balancer.net.mailbox import Mailbox

__all__ = ["hang_up", "read_mail"]

logger = logging.getLogger("balancer")


async def read_mail(worker: WorkerHandle, mailbox: Mailbox, observer: Observer) -> None:
    """Pass on what a worker sends, until it is gone."""
    try:
        while True:
            await observer.room()
            observer.message(worker, await mailbox.receive())
    except trio.EndOfChannel:
        pass
    except ProtocolError as error:
        _spoilt(worker, mailbox, error)


def hang_up(worker: WorkerHandle, observer: Observer) -> None:
    """A worker can't be spoken to any more; what it has sent before is heard first.  Idempotent."""
    if not worker.connected:
        return
    worker.connected = False
    if worker.extras.mailbox is not None:
        _read_last(worker, worker.extras.mailbox, observer)
    observer.gone(worker)


def _read_last(worker: WorkerHandle, mailbox: Mailbox, observer: Observer) -> None:
    try:
        while True:
            observer.message(worker, mailbox.receive_nowait())
    except (trio.WouldBlock, trio.EndOfChannel):
        pass
    except ProtocolError as error:
        _spoilt(worker, mailbox, error)


def _spoilt(worker: WorkerHandle, mailbox: Mailbox, error: ProtocolError) -> None:
    logger.error("%s sent what is no message (%s): no more of it are read", worker, error)
    mailbox.close()
