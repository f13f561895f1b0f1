"""The connection scopes of ASGI: what an app is told of a request before it reads any of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote

from balancer.core.forwarded import FIELDS, read_forwarded

if TYPE_CHECKING:
    from balancer.apps.asgi.types import AsgiConfig, Scope
    from balancer.http1.exchange import Exchange

__all__ = ["HTTP_SPEC", "WEBSOCKET_SPEC", "make_scope"]

# Not 2.4, though send() raises the OSError that 2.4 asks for: frameworks (Starlette) that are told
# 2.4 no longer watch for http.disconnect while they stream, and then an event stream that has
# nothing to say outlives its client.
HTTP_SPEC = "2.3"
WEBSOCKET_SPEC = "2.4"
WEBSOCKET_SCHEMES = {"http": "ws", "https": "wss"}


class _Ends(NamedTuple):
    """What is the same for all requests of a connection."""

    client: tuple[str, int] | None
    server: tuple[str, int | None] | None
    scheme: str
    believed: bool
    """Whether the peer may say who its client is."""


def make_scope(
    exchange: Exchange, config: AsgiConfig, state: dict[str, Any], *, websocket: bool = False
) -> Scope:
    """The scope of a request; ``state`` is the lifespan's, of which the app gets a copy."""
    ends = exchange.memo
    if type(ends) is not _Ends:
        ends = exchange.memo = _ends(exchange, config)
    client, server, scheme, believed = ends
    head = exchange.head
    headers = head.headers
    if believed:
        for name, _ in headers:
            if name in FIELDS:
                origin = read_forwarded(headers, client[0] if client else None, config.trusted)
                client, scheme = origin.client or client, origin.scheme or scheme
                break
    raw_path, _, query = head.origin.partition(b"?")
    path = raw_path.decode("ascii", "replace")
    if "%" in path:
        path = unquote(path)
    root = config.root_path
    if root:
        path, raw_path = root + path, root.encode() + raw_path
    scope: Scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": HTTP_SPEC},
        "http_version": head.http_version,
        "method": head.method,
        "scheme": scheme,
        "path": path,
        "raw_path": raw_path,
        "query_string": query,
        "root_path": root,
        "headers": headers,
        "client": client,
        "server": server,
        "state": state.copy(),
        "extensions": {"http.response.trailers": {}, "http.response.pathsend": {}},
    }
    if websocket:
        _make_websocket(scope)
    # a function, because most apps don't ask, and who doesn't ask shouldn't wait for it
    scope["extensions"]["balancer.request_id"] = {"get": exchange.get_request_id}
    return scope


def _ends(exchange: Exchange, config: AsgiConfig) -> _Ends:
    client, server = exchange.client, exchange.server
    return _Ends(
        client if isinstance(client, tuple) else None,
        (server, None) if isinstance(server, str) else server,
        exchange.scheme,
        (client[0] if isinstance(client, tuple) else None) in config.trusted,
    )


def _make_websocket(scope: Scope) -> None:
    del scope["method"]
    scope["type"] = "websocket"
    scope["asgi"]["spec_version"] = WEBSOCKET_SPEC
    scope["scheme"] = WEBSOCKET_SCHEMES[scope["scheme"]]
    offered = [value for name, value in scope["headers"] if name == b"sec-websocket-protocol"]
    names = [name.strip() for value in offered for name in value.decode("latin-1").split(",")]
    scope["subprotocols"] = [name for name in names if name]
    scope["extensions"] = {"websocket.http.response": {}}
