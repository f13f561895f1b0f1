"""Messages with file descriptors beside them: what master and fork server talk over."""

from __future__ import annotations

import array
import errno
import socket
from typing import final

__all__ = ["MAX_FDS", "MAX_PACKET", "NoRoomError", "packet_pair", "recv_packet", "send_packet"]

MAX_FDS = 250
"""Descriptors in one packet; Linux's SCM_MAX_FD is 253."""
MAX_PACKET = 65536
_ITEM = array.array("i").itemsize


@final
class NoRoomError(OSError):
    """EMFILE: a packet came, but not all of its descriptors; what came of them is closed."""

    def __init__(self, packet: bytes) -> None:
        super().__init__(errno.EMFILE, "no room for the descriptors of a message")
        self.packet = packet


def packet_pair() -> tuple[socket.socket, socket.socket]:
    """Two blocking ends that keep packets apart."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def send_packet(sock: socket.socket, packet: bytes, fds: list[int] | None = None) -> bool:
    """Send one packet; False when the other end is gone, BlockingIOError when it is full."""
    rights = []
    if fds:
        rights.append((socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds).tobytes()))
    try:
        sock.sendmsg([packet], rights, socket.MSG_NOSIGNAL)
    except (BrokenPipeError, ConnectionResetError):
        return False
    return True


def recv_packet(sock: socket.socket) -> tuple[bytes, list[int]]:
    """One packet and its descriptors, which the caller owns; b"" when the other end is gone.

    Raises:
        NoRoomError: there was no room for all of the descriptors.
    """
    try:
        packet, ancillary, flags, _address = sock.recvmsg(
            MAX_PACKET, socket.CMSG_SPACE(MAX_FDS * _ITEM), socket.MSG_CMSG_CLOEXEC
        )
    except ConnectionResetError:
        # The other end died and left packets unread.  On SEQPACKET the error comes *before* what
        # it had sent, which is still there to read.
        return recv_packet(sock)
    fds = array.array("i")
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds.frombytes(data[: len(data) - len(data) % _ITEM])
    if flags & socket.MSG_CTRUNC:
        for fd in fds:
            socket.close(fd)
        raise NoRoomError(packet)
    return packet, fds.tolist()
