"""What was asked for: a request as it was before the app could change its scope."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, final

from balancer.core.logescape import escape
from balancer.core.logrecord import CONTROL, NOTHING

if TYPE_CHECKING:
    from balancer.apps.asgi.types import Scope

__all__ = ["Asked", "ask"]

new = tuple.__new__


@final
class Asked(NamedTuple):
    """A request, for the access log and the hooks, as they would have it of ``http1``.

    Cheap to make; the rest is found out when somebody asks.
    """

    method: str
    raw_path: bytes
    raw_query: bytes
    http_version: str
    headers: list[tuple[bytes, bytes]]

    @property
    def target(self) -> bytes:
        """As it was sent, but that what may not be in one is written as %XX."""
        _, target, query, _, _ = self
        if query:
            target = b"%b?%b" % (target, query)
        if CONTROL.search(target) is None:
            return target
        return CONTROL.sub(lambda match: b"%%%02X" % match[0][0], target)

    @property
    def origin(self) -> bytes:
        """The same."""
        return self.target

    def pick(self, names: tuple[bytes, ...]) -> tuple[str, ...]:
        """As in ``logrecord.Request``."""
        found = dict(self[-1])
        return tuple([escape(found[name]) if name in found else NOTHING for name in names])


def ask(scope: Scope, root: int) -> Asked:
    """The request of a scope, where the path begins with a root path of so many bytes."""
    return new(
        Asked,
        (
            scope.get("method", "GET"),  # a WebSocket's has none
            scope["raw_path"][root:],
            scope["query_string"],
            scope["http_version"],
            scope["headers"],
        ),
    )
