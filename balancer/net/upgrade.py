"""The socket between an old and a new master, and the sockets that come over it.

Who holds which end is said by ``core.upgrade``.  The new master finds the number of its end in the
environment, and takes it out of there: what it starts has nothing to do with it.
"""

from __future__ import annotations

import os
import select
import socket
import struct
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING, Generic, TypeVar, final

import msgspec
import trio

from balancer import __version__
from balancer.core.messages import PacketDecoder, ProtocolError
from balancer.core.upgrade import (
    Cancelled,
    Failed,
    Hello,
    MasterMessage,
    Offer,
    Offered,
    Refused,
    Terms,
)
from balancer.errors import RunError
from balancer.net.packets import NoRoomError, recv_packet, send_packet

if TYPE_CHECKING:
    from collections.abc import MutableMapping

__all__ = ["VARIABLE", "Heritage", "Link", "claim", "report_failure"]

VARIABLE = "BALANCER_UPGRADE"
"""Holds the descriptor of the new master's end."""
PATIENCE = 10.0
"""Seconds for the old master to hand over; it has nothing else to do."""

_T = TypeVar("_T")
_encode = msgspec.msgpack.Encoder().encode


@final
class Link(Generic[_T]):
    """One end, which it owns; ``union`` is what the other end may send."""

    def __init__(self, sock: socket.socket, union: object) -> None:
        sock.setblocking(False)
        self._sock = sock
        self.decode: PacketDecoder[_T] = PacketDecoder(union)

    @property
    def peer(self) -> int:
        """The pid of the process that made the pair: the old master."""
        packed = self._sock.getsockopt(
            socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("iII")
        )
        return int(struct.unpack("iII", packed)[0])

    def say(self, message: msgspec.Struct) -> bool:
        """Send it, if there is somebody and there is room."""
        try:
            return send_packet(self._sock, _encode(message))
        except OSError:  # BlockingIOError; closed
            return False

    async def send(self, message: msgspec.Struct, fds: list[int] | None = None) -> bool:
        """Send it; False when the other end is gone.  OSError: the descriptors can't be passed."""
        packet = _encode(message)
        while True:
            try:
                return send_packet(self._sock, packet, fds)
            except BlockingIOError:
                await trio.lowlevel.wait_writable(self._sock)

    async def packet(self) -> bytes:
        """The next packet; b"" when the other end is gone.  What comes with it is closed."""
        while True:
            try:
                packet, fds = recv_packet(self._sock)
            except BlockingIOError:
                await trio.lowlevel.wait_readable(self._sock)
                continue
            except NoRoomError as error:
                return error.packet
            _close_all(fds)
            return packet

    async def receive(self) -> _T | None:
        """The next message, or None when the other end is gone; ProtocolError when it is none."""
        packet = await self.packet()
        return self.decode(packet) if packet else None

    def receive_now(self, deadline: float) -> tuple[_T, list[int]]:
        """The next message and its descriptors, without an event loop, by ``monotonic()``.

        Raises:
            RunError: nothing comes, or it is no message.
        """
        poll = select.poll()
        poll.register(self._sock, select.POLLIN)
        if not poll.poll(max(0.0, deadline - monotonic()) * 1000):
            raise RunError("upgrade: the old master doesn't say what it has to pass")
        try:
            packet, fds = recv_packet(self._sock)
        except NoRoomError:
            raise RunError(
                "upgrade: no file descriptors left for the listening sockets; raise the limit "
                "(ulimit -n)"
            ) from None
        if not packet:
            raise RunError("upgrade: the old master has gone before it passed its sockets")
        try:
            return self.decode(packet), fds
        except ProtocolError as error:
            _close_all(fds)
            raise RunError(f"upgrade: what the old master says is no message: {error}") from None

    def close(self) -> None:
        """Close it, when nobody waits on it any more; idempotent."""
        self._sock.close()


@final
@dataclass(slots=True, eq=False)
class Heritage:
    """What a new master got from the old one; it owns the sockets until they are taken out."""

    link: Link[MasterMessage]
    predecessor: int
    terms: Terms = field(default_factory=Terms)
    sockets: dict[int, tuple[Offered, socket.socket]] = field(default_factory=dict)

    @property
    def offered(self) -> list[Offered]:
        """What is still there."""
        return [offered for offered, _ in self.sockets.values()]

    def take(self, number: int) -> socket.socket:
        """The socket with a number, which is the caller's from now on."""
        return self.sockets.pop(number)[1]

    def close(self) -> None:
        """Close what nobody has taken.  The old master has these sockets too: nobody notices."""
        for _, sock in self.sockets.values():
            sock.close()
        self.sockets.clear()


def claim(environ: MutableMapping[str, str]) -> Heritage | None:
    """What the old master passes to this one; None where there is no old master.

    Raises:
        RunError: it can't be had; the text is a sentence.
    """
    link = _link(environ)
    if link is None:
        return None
    heritage = Heritage(link, link.peer)
    _rename(environ, heritage.predecessor)
    try:
        _receive(heritage)
    except BaseException as error:  # Ctrl-C too: what has come by then is nobody's
        if isinstance(error, RunError):
            link.say(Failed(reason=str(error)))
        heritage.close()
        link.close()
        raise
    return heritage


def _link(environ: MutableMapping[str, str]) -> Link[MasterMessage] | None:
    text = environ.pop(VARIABLE, None)
    if text is None:
        return None
    try:
        sock = socket.socket(fileno=int(text))
        if sock.family != socket.AF_UNIX or sock.type != socket.SOCK_SEQPACKET:
            sock.detach()
            raise ValueError("another kind of socket")
    except (ValueError, OSError, OverflowError):
        raise RunError(
            f"{VARIABLE}={text}: is set by `balancer upgrade` for the server that it starts, and "
            "for nobody else; unset it"
        ) from None
    sock.set_inheritable(False)
    return Link(sock, MasterMessage)


def _rename(environ: MutableMapping[str, str], predecessor: int) -> None:
    """What systemd said to the old master holds for the new one, which has another pid."""
    for name in ("LISTEN_PID", "WATCHDOG_PID"):
        if environ.get(name) == str(predecessor):
            environ[name] = str(os.getpid())


def _receive(heritage: Heritage) -> None:
    deadline = monotonic() + PATIENCE
    heritage.link.say(Hello(version=__version__))
    while True:
        message, fds = heritage.link.receive_now(deadline)
        if isinstance(message, Offer) and len(fds) == len(message.sockets):
            for offered, fd in zip(message.sockets, fds, strict=True):
                heritage.sockets[offered.number] = (offered, socket.socket(fileno=fd))
            continue
        _close_all(fds)
        if isinstance(message, Terms):
            heritage.terms = message
            return
        if isinstance(message, Refused | Cancelled):
            raise RunError(f"upgrade: the old master goes on: {message.reason}")
        raise RunError("upgrade: the old master says what makes no sense here")


def report_failure(environ: MutableMapping[str, str], reason: str) -> None:
    """Tell the old master why this one never got as far as to ask; nothing if there is none."""
    try:
        link = _link(environ)
    except RunError:
        return
    if link is not None:
        link.say(Failed(reason=reason))
        link.close()


def _close_all(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)
