"""Telling systemd how the service does: sd_notify(3), which is one datagram per message.

Without ``NOTIFY_SOCKET`` nothing is sent, so nobody has to ask whether systemd is there.  What
can't be sent is said once in the log, and is no reason to stop: then systemd knows no better than
before there was such a thing.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
from typing import TYPE_CHECKING, Self, final

if TYPE_CHECKING:
    from collections.abc import MutableMapping

__all__ = ["Notifier"]

logger = logging.getLogger("balancer")

VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")


@final
class Notifier:
    """Sends messages to systemd; owns its socket.

    Attributes:
        watchdog: Seconds within which systemd wants a ``WATCHDOG=1``, None if it wants none.
    """

    def __init__(self, address: str = "", watchdog: float | None = None) -> None:
        self.watchdog = watchdog if address else None
        self._address = address
        self._failed = False
        self._socket: socket.socket | None = None

    @classmethod
    def from_environ(cls, environ: MutableMapping[str, str], pid: int) -> Self:
        """What the environment says, whose variables go: a worker, or what it starts, is not us.

        ``WATCHDOG_PID`` names who is watched; where it is missing that is whoever reads it.
        """
        address, usec, watched = [environ.pop(name, "") for name in VARIABLES]
        wanted = usec.isdecimal() and int(usec) > 0 and watched in {"", str(pid)}
        return cls(address, int(usec) / 1_000_000 if wanted else None)

    @property
    def active(self) -> bool:
        """Whether there is anybody to tell."""
        return bool(self._address)

    def variables(self) -> dict[str, str]:
        """What to set for a process that is to tell systemd in our place, after ``MAINPID=``."""
        if not self._address:
            return {}
        found = {"NOTIFY_SOCKET": self._address}
        if self.watchdog is not None:
            found["WATCHDOG_USEC"] = str(round(self.watchdog * 1_000_000))
        return found

    def notify(self, text: str) -> bool:
        """Send assignments, one per line, in one message; they hold together.

        Never waits, and raises nothing; False when systemd hasn't got it, as when its queue is full
        (it has room for hundreds).
        """
        if not self._address:
            return True
        try:
            self._send(text.encode("utf-8", "replace"))
        except OSError as error:
            if not self._failed:
                logger.warning(
                    "NOTIFY_SOCKET=%s: systemd can't be told how things are: %s",
                    self._address,
                    error.strerror or error,
                )
            self._failed = True
            return False
        self._failed = False
        return True

    def close(self) -> None:
        """Nothing can be sent any more; idempotent."""
        self._address = ""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, data: bytes) -> None:
        # Not connected: the socket behind the path may be another one after a daemon-reexec.
        if self._address[0] not in "/@":
            raise OSError(errno.EAFNOSUPPORT, "neither a path nor an abstract socket (@NAME)")
        if self._socket is None:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        path = os.fsencode(self._address)
        if path.startswith(b"@"):
            path = b"\0" + path[1:]
        self._socket.sendto(data, socket.MSG_NOSIGNAL | socket.MSG_DONTWAIT, path)
