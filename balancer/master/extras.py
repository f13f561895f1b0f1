"""What a worker gets besides: the table of the upstreams' endpoints, if it is a proxy's; when a
program uses the library, a mailbox and ends of pipes; in a suspect slot a pipe for its stderr, of
which it gets both ends (``worker.stderr`` says why)."""

from __future__ import annotations

import os
from typing import final

from balancer.net.mailbox import Mailbox

__all__ = ["Extras"]


@final
class Extras:
    """Owns the worker's ends until ``forked``, and the master's until they are taken or closed.

    ``endpoints`` is the table's descriptor, which stays the caller's.

    OSError when there are no descriptors for them.
    """

    def __init__(
        self,
        *,
        mailbox: bool = False,
        silent: bool = False,
        endpoints: int | None = None,
        overheard: bool = False,
    ) -> None:
        self.mailbox: Mailbox | None = None
        self.overheard = overheard and not silent
        self._far: dict[str, int] = {}
        self._near: dict[str, int] = {}
        try:
            if mailbox:
                near, far = Mailbox.pair()
                self.mailbox = Mailbox(near)
                self._far["mailbox"] = far.detach()
            if endpoints is not None:
                self._far["endpoints"] = os.dup(endpoints)
            for name in ("stdout", "stderr") if silent else ():
                self._near[name], self._far[name] = os.pipe()
            if self.overheard:
                self._near["stderr"], self._far["stderr"] = os.pipe()
                self._far["stderr_back"] = os.dup(self._near["stderr"])
        except OSError:
            self.close()
            raise

    @property
    def names(self) -> tuple[str, ...]:
        """What there is, in the order of ``fds``."""
        return tuple(self._far)

    @property
    def fds(self) -> list[int]:
        """The worker's ends, to be sent."""
        return list(self._far.values())

    def take(self, name: str) -> int | None:
        """The reading end of ``stdout`` or ``stderr``, which is the caller's from now on."""
        return self._near.pop(name, None)

    def forked(self) -> None:
        """The worker has its ends, or never will: close ours of them."""
        for fd in self._far.values():
            os.close(fd)
        self._far.clear()

    def close(self) -> None:
        """Close everything; idempotent."""
        self.forked()
        if self.mailbox is not None:
            self.mailbox.close()
        for fd in self._near.values():
            os.close(fd)
        self._near.clear()
