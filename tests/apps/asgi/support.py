"""ASGI apps over the engine, in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from balancer.apps.asgi import AsgiConfig, AsgiService
from balancer.http1 import Http1Config, NullStats
from balancer.settings import TrustedPeers
from tests.http1.fakes import WHOLE, answer_to

if TYPE_CHECKING:
    from collections.abc import Iterable

    from balancer.apps.asgi import AsgiApp
    from balancer.http1 import Handler

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
START = {"type": "http.response.start", "status": 200, "headers": []}


class Answer(NamedTuple):
    """A response, taken apart."""

    status: int
    fields: dict[str, str]
    body: bytes


def handler(
    app: AsgiApp,
    *,
    root_path: str = "",
    trusted: Iterable[str] = (),
    engine: Http1Config | None = None,
) -> Handler:
    """What the engine calls for each request."""
    config = AsgiConfig("site:app", "auto", root_path, TrustedPeers(trusted))
    return AsgiService(app, config, engine or Http1Config(), NullStats())._handle


async def ask(
    app: AsgiApp,
    data: bytes = GET,
    *,
    piece: int = WHOLE,
    root_path: str = "",
    trusted: Iterable[str] = (),
    engine: Http1Config | None = None,
) -> Answer:
    """The app's answer to one request, after which the client half-closes."""
    made = handler(app, root_path=root_path, trusted=trusted)
    return parse(await answer_to(made, data, piece=piece, config=engine))


def parse(data: bytes) -> Answer:
    """A response's head, and all that follows it."""
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    fields = dict(line.lower().split(": ", 1) for line in lines)
    return Answer(int(first.split()[1]), fields, body)
