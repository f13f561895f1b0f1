"""The control socket's server: a task of the master that can't hurt the master.

At most ``MAX_CLIENTS`` connections are open; the others wait in the kernel's backlog.  A client
has ``PATIENCE`` seconds to send a line and ``SEND_PATIENCE`` to take its answer, a line has at most
64 KiB, and who is neither this user nor root is closed before a byte is read.

Who asks to wait until something is done is in nobody's way meanwhile, until ``MAX_WAITING`` do; the
answer is the last on its connection, and who hangs up waits no more.
"""

from __future__ import annotations

import errno
import logging
import os
import select
from contextlib import suppress
from typing import TYPE_CHECKING, final

import trio

from balancer.core.control import (
    MAX_LINE,
    ControlError,
    GetStatus,
    Reply,
    decode_request,
    encode,
)
from balancer.errors import BalancerError, RunError
from balancer.master.commands import obey
from balancer.net.control import ControlSocket, open_control, peer_uid

if TYPE_CHECKING:
    from balancer.core.control import Request
    from balancer.master.commands import Commands
    from balancer.settings import Settings

__all__ = ["ControlDesk", "serve_control"]

logger = logging.getLogger("balancer.master.control")

MAX_CLIENTS = 16
MAX_WAITING = 64
PATIENCE = 5.0
SEND_PATIENCE = 1.0
RECEIVE = 16 * 1024
# what accept() says when the master is short of fds or memory: later it may work again
ACCEPT_PAUSE = 0.1
# seconds between two tries to get a control socket
RETRY = 2.0


@final
class ControlDesk:
    """The control socket, as long as it is this master's: an upgrade passes it on.

    Owns ``socket`` once it is there.
    """

    def __init__(self) -> None:
        self.socket: ControlSocket | None = None
        self._begun = trio.Event()
        self._accepting = trio.CancelScope()
        self._done: trio.Event | None = None

    def begin(self) -> None:
        """Answer from now on."""
        self._begun.set()
        if self.socket is not None:
            self.socket.lent = False

    def leave(self, *, passed: bool) -> None:
        """Take no new clients; if the socket was ``passed``, it is the next master's."""
        self._accepting.cancel()
        if self.socket is not None:
            self.socket.lent = passed

    async def finish(self) -> None:
        """After ``leave``: wait for the clients that are here."""
        if self._done is not None:
            with trio.move_on_after(PATIENCE + SEND_PATIENCE):
                await self._done.wait()

    async def serve(self, commands: Commands, control: ControlSocket) -> None:
        """Serve, and who is here then until they are done."""
        self.socket = control
        await self._begun.wait()
        self._done = trio.Event()
        listener = trio.socket.from_stdlib_socket(control.socket)
        seats = _Seats()
        async with trio.open_nursery() as nursery:
            with self._accepting:
                while True:
                    await seats.free.acquire()
                    nursery.start_soon(_client, await _accept(listener), commands, seats)
        self._done.set()


async def serve_control(
    commands: Commands,
    settings: Settings,
    *,
    bound: str | None = None,
    desk: ControlDesk | None = None,
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
        desk: Where an upgrade finds the socket; may have one already.
        task_status: Of ``nursery.start``.

    Raises:
        RunError: ``--control`` was given and no socket can be made there.
    """
    if settings.no_control:
        task_status.started(None)
        return
    if desk is None:
        desk = ControlDesk()
        desk.begin()
    control = desk.socket or _open(settings, bound)
    desk.socket = control
    task_status.started(None if control is None else str(control.address))
    while control is None:
        # Nothing tells when another server's socket goes.
        await trio.sleep(RETRY)
        with suppress(RunError):
            control = open_control(settings, bound=bound)
            logger.info("the control socket is %s", control.address)
    try:
        await desk.serve(commands, control)
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


@final
class _Seats:
    """How many clients there may be: those that are heard, and those that wait."""

    def __init__(self) -> None:
        self.free = trio.Semaphore(MAX_CLIENTS)
        self._waiting: set[object] = set()

    def wait(self, client: object) -> None:
        """A client waits: its seat is another one's from now on.

        Raises:
            RunError: too many do.
        """
        if len(self._waiting) >= MAX_WAITING:
            raise RunError(f"{MAX_WAITING} commands wait for something already; try without --wait")
        self._waiting.add(client)
        self.free.release()

    def leave(self, client: object) -> None:
        """A client has gone."""
        if client in self._waiting:
            self._waiting.remove(client)
        else:
            self.free.release()


async def _accept(listener: trio.socket.SocketType) -> trio.socket.SocketType:
    while True:
        try:
            client, _ = await listener.accept()
        except OSError:
            await trio.sleep(ACCEPT_PAUSE)
        else:
            return client


async def _client(client: trio.socket.SocketType, commands: Commands, seats: _Seats) -> None:
    try:
        if _may_command(client):
            await _converse(client, commands, seats)
    except OSError:
        # it went away without its answer: its own affair
        pass
    finally:
        client.close()
        seats.leave(client)


def _may_command(client: trio.socket.SocketType) -> bool:
    return peer_uid(client) in {0, os.geteuid()}


async def _converse(client: trio.socket.SocketType, commands: Commands, seats: _Seats) -> None:
    """Answer line by line, until the client closes, errs or is too slow."""
    buffer = bytearray()
    while True:
        try:
            line = await _receive_line(client, buffer)
            if line is None:
                return
            request = decode_request(line)
            reply = await _answer(request, commands, client, seats)
        except ControlError as error:
            await _send(client, Reply(ok=False, error=str(error)))
            return
        if reply is not None:
            await _send(client, reply)
        if reply is None or getattr(request, "wait", False):
            return


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


async def _answer(
    request: Request, commands: Commands, client: trio.socket.SocketType, seats: _Seats
) -> Reply | None:
    """The answer, or None when the client hung up before there was one."""
    try:
        if isinstance(request, GetStatus):
            return Reply(ok=True, result=commands.status())
        if not getattr(request, "wait", False):
            return Reply(ok=True, result=await obey(request, commands))
        seats.wait(client)
        return await _wait(request, commands, client)
    except (BalancerError, OSError) as error:
        return _refusal(error)


def _refusal(error: BalancerError | OSError) -> Reply:
    if isinstance(error, BalancerError):
        return Reply(ok=False, error=str(error))
    # no descriptors, as a rule: what was begun by then goes on
    return Reply(ok=False, error=f"the server can't do that now: {error.strerror or error}")


async def _wait(
    request: Request, commands: Commands, client: trio.socket.SocketType
) -> Reply | None:
    reply: Reply | None = None
    with _hangup_of(client) as hangup:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_watch, hangup, nursery.cancel_scope)
            try:
                reply = Reply(ok=True, result=await obey(request, commands), done=True)
            except (BalancerError, OSError) as error:
                reply = _refusal(error)
            nursery.cancel_scope.cancel()
    return reply


def _hangup_of(client: trio.socket.SocketType) -> select.epoll:
    """What is readable when the client has gone; the caller's to close.

    Raises:
        RunError: there is no descriptor for it.
    """
    try:
        hangup = select.epoll()
        # No events: that the client has closed (HUP) is told anyway, and a client that has closed
        # only its sending half still waits.
        hangup.register(client.fileno(), 0)
    except OSError as error:
        raise RunError(f"nobody can wait now: {error.strerror}; try without --wait") from None
    return hangup


async def _watch(hangup: select.epoll, waiting: trio.CancelScope) -> None:
    """Cancel what waits for an answer when nobody is left to hear it."""
    await trio.lowlevel.wait_readable(hangup.fileno())
    waiting.cancel()


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
