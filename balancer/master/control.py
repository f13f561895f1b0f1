"""The control socket's server: a task of the master that can't hurt the master.

At most ``MAX_CLIENTS`` connections are open; the others wait in the kernel's backlog.  A client
has ``PATIENCE`` seconds to send a line and ``SEND_PATIENCE`` to take its answer, a line has at most
64 KiB, and who is neither this user nor root is closed before a byte is read.
"""

from __future__ import annotations

import errno
import logging
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

import trio

from balancer.core.control import (
    MAX_LINE,
    ControlError,
    Drain,
    DrainUpstream,
    GetStatus,
    LogLevel,
    Reload,
    Reopen,
    Reply,
    Request,
    Restart,
    Resume,
    ResumeUpstream,
    Scale,
    Status,
    Stop,
    Upgrade,
    Weigh,
    decode_request,
    encode,
)
from balancer.errors import BalancerError, RunError
from balancer.net.control import ControlSocket, open_control, peer_uid

if TYPE_CHECKING:
    from balancer.settings import Settings

__all__ = ["Commands", "serve_control"]

logger = logging.getLogger("balancer.master.control")

MAX_CLIENTS = 16
PATIENCE = 5.0
SEND_PATIENCE = 1.0
RECEIVE = 16 * 1024
# what accept() says when the master is short of fds or memory: later it may work again
ACCEPT_PAUSE = 0.1
# seconds between two tries to get a control socket
RETRY = 2.0


class Commands(Protocol):
    """What the master can be told; a ``BalancerError`` is a refusal, and its text the reason.

    Each returns when the thing is begun, not when it is done: the other side waits for the answer.
    """

    def status(self) -> Status:
        """Everything, now."""
        ...

    async def reload(self, *, wait: bool = False) -> None:
        """Begin to read the configuration again and to roll the workers; or do so (``wait``)."""
        ...

    async def restart(self, worker_id: int | None, *, wait: bool = False) -> None:
        """Roll the workers, or replace one, with the configuration as it is."""
        ...

    async def upgrade(self, *, wait: bool = False) -> None:
        """Begin to be replaced by another master."""
        ...

    async def reopen(self) -> None:
        """Have the workers open their log files anew."""
        ...

    async def scale(self, workers: int | None, *, by: int = 0, wait: bool = False) -> None:
        """Have that many workers; without a number, ``by`` more or less."""
        ...

    async def drain(self, worker_id: int, *, wait: bool = False) -> None:
        """Drain one worker."""
        ...

    async def resume(self, worker_id: int) -> None:
        """Put it back into service."""
        ...

    async def drain_upstream(self, upstream: str, *, wait: bool = False) -> None:
        """Give an upstream no new requests."""
        ...

    async def resume_upstream(self, upstream: str) -> None:
        """Give it requests again."""
        ...

    async def weigh(self, upstream: str, weight: int) -> None:
        """Give it another share."""
        ...

    async def log_level(self, level: str) -> None:
        """Log more, or less."""
        ...

    async def stop(self, *, quick: bool, wait: bool = False) -> None:
        """Stop the server."""
        ...


async def serve_control(
    commands: Commands,
    settings: Settings,
    *,
    bound: str | None = None,
    task_status: trio.TaskStatus[str | None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Make the control socket, say its address by ``started``, and serve it until cancelled.

    Where none can be made, that is logged once, ``started`` says None and the server runs on; only
    for a path that the user named (``--control``) it is an error.  A socket that another server
    has is waited for: as a rule that one is about to leave.

    Args:
        commands: What to do.
        settings: Where the socket is to be, and whether there is to be one.
        bound: The first address really bound, for the socket's name.
        task_status: Of ``nursery.start``.

    Raises:
        RunError: ``--control`` was given and no socket can be made there.
    """
    if settings.no_control:
        task_status.started(None)
        return
    control = _open(settings, bound)
    task_status.started(None if control is None else str(control.address))
    while control is None:
        # Nothing tells when another server's socket goes.
        await trio.sleep(RETRY)
        with suppress(RunError):
            control = open_control(settings, bound=bound)
            logger.info("the control socket is %s", control.address)
    try:
        await _serve(commands, control)
    finally:
        control.close()


def _open(settings: Settings, bound: str | None) -> ControlSocket | None:
    try:
        return open_control(settings, bound=bound)
    except RunError as error:
        if settings.control is not None:
            raise
        logger.warning("no control socket, balancer status won't work: %s", error)
        return None


async def _serve(commands: Commands, control: ControlSocket) -> None:
    listener = trio.socket.from_stdlib_socket(control.socket)
    free = trio.Semaphore(MAX_CLIENTS)
    async with trio.open_nursery() as nursery:
        while True:
            await free.acquire()
            nursery.start_soon(_client, await _accept(listener), commands, free)


async def _accept(listener: trio.socket.SocketType) -> trio.socket.SocketType:
    while True:
        try:
            client, _ = await listener.accept()
        except OSError:
            await trio.sleep(ACCEPT_PAUSE)
        else:
            return client


async def _client(client: trio.socket.SocketType, commands: Commands, free: trio.Semaphore) -> None:
    try:
        if _may_command(client):
            await _converse(client, commands)
    except OSError:
        # it went away without its answer: its own affair
        pass
    finally:
        client.close()
        free.release()


def _may_command(client: trio.socket.SocketType) -> bool:
    return peer_uid(client) in {0, os.geteuid()}


async def _converse(client: trio.socket.SocketType, commands: Commands) -> None:
    """Answer line by line, until the client closes, errs or is too slow."""
    buffer = bytearray()
    while True:
        try:
            line = await _receive_line(client, buffer)
            if line is None:
                return
            reply = await _answer(decode_request(line), commands)
        except ControlError as error:
            await _send(client, Reply(ok=False, error=str(error)))
            return
        await _send(client, reply)


async def _receive_line(client: trio.socket.SocketType, buffer: bytearray) -> bytes | None:
    """The next line, or None at a clean end; what follows it stays in ``buffer``.

    Raises:
        ControlError: the line is too long, too slow, or has no end.
    """
    with trio.move_on_after(PATIENCE):
        while (end := buffer.find(b"\n")) < 0:
            if len(buffer) >= MAX_LINE:
                raise ControlError(f"a request has at most {MAX_LINE} bytes")
            data = await client.recv(RECEIVE)
            if not data and not buffer:
                return None
            if not data:
                raise ControlError("the request has no end: its newline is missing")
            buffer += data
        line = bytes(buffer[:end])
        del buffer[: end + 1]
        return line
    raise ControlError(f"no complete request in {PATIENCE:g} s")


async def _answer(request: Request, commands: Commands) -> Reply:
    try:
        if isinstance(request, GetStatus):
            return Reply(ok=True, result=commands.status())
        await _obey(request, commands)
    except BalancerError as error:
        return Reply(ok=False, error=str(error))
    return Reply(ok=True)


async def _obey(request: Request, commands: Commands) -> None:
    match request:
        case Reload(wait=wait):
            await commands.reload(wait=wait)
        case Restart(worker_id=worker_id, wait=wait):
            await commands.restart(worker_id, wait=wait)
        case Upgrade(wait=wait):
            await commands.upgrade(wait=wait)
        case Reopen():
            await commands.reopen()
        case Scale(workers=workers, by=by, wait=wait):
            await commands.scale(workers, by=by, wait=wait)
        case Drain(worker_id=worker_id, wait=wait):
            await commands.drain(worker_id, wait=wait)
        case Resume(worker_id=worker_id):
            await commands.resume(worker_id)
        case DrainUpstream(upstream=upstream, wait=wait):
            await commands.drain_upstream(upstream, wait=wait)
        case ResumeUpstream(upstream=upstream):
            await commands.resume_upstream(upstream)
        case Weigh(upstream=upstream, weight=weight):
            await commands.weigh(upstream, weight)
        case LogLevel(level=level):
            await commands.log_level(level)
        case Stop(quick=quick, wait=wait):
            await commands.stop(quick=quick, wait=wait)


async def _send(client: trio.socket.SocketType, reply: Reply) -> None:
    """Send it all, or give up on a client that doesn't read.

    Shielded, because the answer to ``stop`` is under way when this task is cancelled.
    """
    data = memoryview(encode(reply))
    with trio.move_on_after(SEND_PATIENCE, shield=True):
        while data:
            data = data[await client.send(data) :]
        return
    raise BrokenPipeError(errno.EPIPE, "the client doesn't read")
