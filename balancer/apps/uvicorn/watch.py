"""What is to be done before and after each request, for whoever runs the service: users' hooks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, final

if TYPE_CHECKING:
    from balancer.apps.uvicorn.asked import Asked
    from balancer.apps.uvicorn.front import Client

__all__ = ["Seen", "Watcher"]


@final
class Seen:
    """What can be asked of a request, as of the trio engine's ``Exchange``."""

    def __init__(self, asked: Asked, client: Client) -> None:
        self.method = asked.method
        self.target = asked.target
        self.path, _, self.query = self.target.partition(b"?")
        self.http_version = asked.http_version
        self.headers = asked.headers
        self.client = client


class Watcher(Protocol):
    """Sees requests come and go; raises nothing."""

    def begin(self, exchange: Seen, /) -> object:
        """A request is about to be handled; what this returns comes back in ``end``."""

    def end(self, request: Any, status: int, /) -> None:  # noqa: ANN401 - whatever it was
        """It was; ``status`` is 0 if there was no answer."""
