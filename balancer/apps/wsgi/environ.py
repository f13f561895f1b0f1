"""The environ of a request (PEP 3333, "environ Variables"): what an app is told of it.

Strings are "native strings" of the PEP: every character stands for one byte of what was sent, so
the path is decoded as Latin-1 whatever it is in, and frameworks decode it again.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, final
from urllib.parse import unquote_to_bytes

from balancer import __version__
from balancer.apps.wsgi.types import FileWrapper
from balancer.core.forwarded import FIELDS, read_forwarded

if TYPE_CHECKING:
    from collections.abc import Iterable

    from balancer.apps.wsgi.types import Environ, WsgiConfig
    from balancer.http1.exchange import Exchange
    from balancer.http1.transport import Address

__all__ = ["ErrorStream", "base_environ", "make_environ"]

COOKIE = "HTTP_COOKIE"
DEFAULT_PORTS = {"http": "80", "https": "443"}
MAX_KEYS = 1024
_keys: dict[bytes, str] = {b"content-type": "CONTENT_TYPE", b"content-length": "CONTENT_LENGTH"}


@final
class ErrorStream:
    """``wsgi.errors``: the process's stderr, whoever has replaced it meanwhile."""

    def write(self, text: str) -> int:
        return len(text) if sys.stderr is None else sys.stderr.write(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        if sys.stderr is not None:
            sys.stderr.flush()


def base_environ(config: WsgiConfig) -> Environ:
    """What is the same in every request."""
    return {
        "SCRIPT_NAME": _decode(config.root_path.encode()),
        "SERVER_SOFTWARE": f"balancer/{__version__}",
        "wsgi.version": (1, 0),
        "wsgi.errors": ErrorStream(),
        "wsgi.multithread": config.threads > 1,
        # One worker is enough for two processes: while it is being replaced there are both.
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        "wsgi.file_wrapper": FileWrapper,
        "wsgi.input_terminated": True,
    }


def make_environ(base: Environ, exchange: Exchange, config: WsgiConfig) -> Environ:
    """The environ of a request, but for ``wsgi.input``."""
    environ = base.copy()
    target = exchange.target.decode("latin-1")
    path, _, query = exchange.origin.partition(b"?")
    environ["REQUEST_METHOD"] = exchange.method
    environ["RAW_URI"] = environ["REQUEST_URI"] = target
    # OPTIONS * asks about no path at all, and a PATH_INFO begins with a slash or is empty
    environ["PATH_INFO"] = "" if path == b"*" else _decode(path)
    environ["QUERY_STRING"] = query.decode("latin-1")
    environ["SERVER_PROTOCOL"] = f"HTTP/{exchange.http_version}"
    headers = exchange.headers
    _add_headers(environ, headers)
    scheme, client = exchange.scheme, exchange.client
    if not FIELDS.isdisjoint([name for name, _ in headers]):
        peer = client[0] if isinstance(client, tuple) else None
        origin = read_forwarded(headers, peer, config.trusted)
        client, scheme = origin.client or client, origin.scheme or scheme
    environ["wsgi.url_scheme"] = scheme
    _add_client(environ, client)
    _add_server(environ, exchange.server, scheme)
    return environ


def _add_headers(environ: Environ, headers: list[tuple[bytes, bytes]]) -> None:
    for name, value in headers:
        key = _keys.get(name) or _key(name)
        if not key:
            continue
        text = value.decode("latin-1")
        before = environ.get(key)
        if before is None or key == "CONTENT_LENGTH":  # two of them say the same, or are refused
            environ[key] = text
        else:
            # RFC 3875 4.1.18; a cookie's list has semicolons (RFC 6265 5.4)
            environ[key] = f"{before}; {text}" if key == COOKIE else f"{before},{text}"


def _key(name: bytes) -> str:
    """A header's variable; "" if it has none.

    ``X_Real_Ip`` would have the variable of ``X-Real-Ip``, past every proxy that removes or sets
    the latter: what has underscores is dropped (as by nginx, and gunicorn's header_map=drop).
    """
    key = "" if b"_" in name else f"HTTP_{name.decode('ascii').upper().replace('-', '_')}"
    if len(_keys) < MAX_KEYS:  # clients invent names
        _keys[name] = key
    return key


def _add_client(environ: Environ, client: Address) -> None:
    if not isinstance(client, tuple):
        environ["REMOTE_ADDR"] = ""  # a UNIX socket, whose peers have no address
        return
    environ["REMOTE_ADDR"] = client[0]
    if client[1]:  # what a proxy told us of may have none
        environ["REMOTE_PORT"] = str(client[1])


def _add_server(environ: Environ, server: Address, scheme: str) -> None:
    if isinstance(server, tuple):
        environ["SERVER_NAME"] = server[0]
        environ["SERVER_PORT"] = str(server[1])
        return
    # A UNIX socket's path is no name, and neither variable may be empty: what the client says.
    host: str = environ.get("HTTP_HOST", "")
    name, colon, port = host.rpartition(":")
    if not colon or host.endswith("]"):
        name, port = host, ""
    environ["SERVER_NAME"] = name or "localhost"
    environ["SERVER_PORT"] = port or DEFAULT_PORTS[scheme]


def _decode(path: bytes) -> str:
    return (unquote_to_bytes(path) if b"%" in path else path).decode("latin-1")
