"""What all connections of a worker have in common."""

from __future__ import annotations

from dataclasses import dataclass, field
from email.utils import formatdate
from typing import TYPE_CHECKING, final

from balancer.http1.responses import status_line

if TYPE_CHECKING:
    from balancer.http1.config import Http1Config
    from balancer.http1.exchange import Handler
    from balancer.http1.tally import Tally

__all__ = ["Shared"]


@final
@dataclass(slots=True)
class Shared:
    """What all connections of a worker have in common."""

    handler: Handler
    config: Http1Config
    tally: Tally
    now: float = 0.0
    """The reaper's clock, in seconds; the zero means nothing."""
    draining: bool = False
    date: bytes = b""
    _prefixes: dict[int, bytes] = field(default_factory=dict)

    def set_date(self, unix_time: float) -> None:
        """Render the Date field, once a second."""
        date = formatdate(unix_time, usegmt=True).encode("ascii")
        if date != self.date:
            self.date = date
            self._prefixes.clear()

    def prefix(self, status: int) -> bytes:
        """Status line and Date."""
        prefix = self._prefixes.get(status)
        if prefix is None:
            prefix = self._prefixes[status] = b"%bDate: %b\r\n" % (status_line(status), self.date)
        return prefix
