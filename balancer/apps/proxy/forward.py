"""The request as the upstream gets it: its head rewritten.  Pure.

What belongs to the client's connection stays behind (RFC 9110 7.6.1), framing is made anew
(RFC 9112 6), and who the client is gets written down: X-Forwarded-For, -Proto, -Host and -Port,
which everybody reads, and Forwarded (RFC 7239), which is the standard.  Copies of those that the
client sent are its own invention, so they go, unless it is a proxy that we trust: then ours is
appended to the lists, and its word on scheme, host and port stands.

Names with an underscore or a dot are read as their relatives with a dash by everything that makes
variables of them (CGI, WSGI): an ``X_Forwarded_For`` would undo all of this, so it is dropped.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, final

from balancer.http1.responses import NOT_IN_TRAILERS as NOT_IN_ANY_TRAILERS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from balancer.core.forwarded import Trusted
    from balancer.http1.head import Head

__all__ = [
    "NAME",
    "Client",
    "ForwardConfig",
    "Forwarder",
    "answers_offer",
    "offer",
    "spend_hop",
    "trailer_lines",
]

NAME = b"balancer"
"""Our pseudonym (RFC 9110 7.6.3) where nobody has to know us by it."""

OWN = frozenset({
    b"connection", b"keep-alive", b"proxy-connection", b"proxy-authorization", b"te", b"trailer",
    b"transfer-encoding", b"upgrade", b"content-length", b"expect", b"host", b"http2-settings",
})  # fmt: skip
"""What is said by each hop for itself, or written anew."""
FOR, PROTO, HOST, PORT = (
    b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"x-forwarded-port",
)  # fmt: skip
STANDARD = b"forwarded"
REQUEST_ID = b"x-request-id"
ID_FIELD = (REQUEST_ID,)
IDENTITY = frozenset({FOR, PROTO, HOST, PORT, STANDARD, REQUEST_ID})
NOT_NOMINATED = IDENTITY | {
    b"authorization", b"content-length", b"content-type", b"cookie", b"host", b"via",
}  # fmt: skip
"""What a client's Connection can't take away: it would change who asks, or for what."""
ALIASES = frozenset(name.replace(b"-", b"_") for name in IDENTITY | OWN if b"-" in name)
BY_CONNECTION = frozenset({b"ntlm", b"negotiate"})
"""Schemes that many servers take for the word of a whole connection (RFC 4559 6): whoever comes by
it next would be taken for the one who has proved it."""
OTHER_HTTP = frozenset({b"h2c", b"h2", b"http"})
NOT_IN_TRAILERS = OWN | NOT_NOMINATED | NOT_IN_ANY_TRAILERS | {b"max-forwards", b"range"}
"""RFC 9110 6.5.1: framing, routing, who asks, and what a request is about: all of it has been read
before trailers come.  Node's parser refuses a Content-Length even here."""
MAX_FORWARDS = re.compile(rb"\r\nmax-forwards: ([0-9]{1,18})\r\n").search
TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch
PROTOCOL = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+(?:/[!#$%&'*+\-.^_`|~0-9A-Za-z]+)?").fullmatch


@final
@dataclass(frozen=True, slots=True)
class ForwardConfig:
    """What the settings say.

    Attributes:
        trusted: Who may say for whom it asks.
        host: Replaces the client's Host.
        fallback: The Host for a client of HTTP/1.0 that sends none.
        name: What we call ourselves in Via, and know a request by that goes round in a circle:
            another name in every server, because there may be several in a row.
    """

    trusted: Trusted
    host: bytes | None = None
    fallback: bytes = b""
    name: bytes = NAME

    def via(self, version: str) -> bytes:
        """What we add to Via, by the version of what came."""
        return b"%b %b" % (version.encode(), self.name)


class Client(NamedTuple):
    """The other end of a client's connection: None is a UNIX socket."""

    host: str | None
    scheme: str
    port: int
    """The port it came to; 0: none."""


@final
class Forwarder:
    """Writes the heads of one client's requests; remembers the last: the next is often equal."""

    __slots__ = (
        "_block",
        "_client",
        "_config",
        "_fields",
        "_loops",
        "_version",
        "private",
        "request_id",
    )

    def __init__(self, client: Client, config: ForwardConfig) -> None:
        self._client = client
        self._config = config
        self._block: bytes | None = None
        self._fields = b""
        self._loops = False
        self._version = ""
        self.private = False
        """The last request may have logged its client in for all of the upstream's connection."""
        self.request_id = ""
        """The X-Request-ID of the last request, if it had one."""

    def fields(self, head: Head) -> bytes:
        """The lines of a request's fields, but for framing, Upgrade and X-Request-ID.

        ``looped`` tells afterwards whether the request has been here before.
        """
        block = head.block
        if block is None or block != self._block or head.http_version != self._version:
            self._version = head.http_version
            self._fields, self._loops = _rewrite(
                head.headers, self._client, self._config, self._version
            )
            self.private = any(map(_is_login, head.headers))
            self.request_id = head.pick(ID_FIELD)[0]
            self._block = block
        return self._fields

    @property
    def looped(self) -> bool:
        """Whether the last request's Via names us: it goes round in a circle."""
        return self._loops


def _rewrite(
    headers: Iterable[tuple[bytes, bytes]], client: Client, config: ForwardConfig, version: str
) -> tuple[bytes, bool]:
    headers = list(headers)
    said = dict(headers)  # the last of equals; the lists are joined below
    nominated = {
        option.strip(b" \t").lower()
        for name, value in headers
        if name == b"connection"
        for option in value.split(b",")
    } - NOT_NOMINATED
    host = config.host if config.host is not None else said.get(b"host", config.fallback)
    dropped = OWN | IDENTITY | nominated
    lines = [b"host: %b\r\n" % host]
    via: list[bytes] = []
    for name, value in headers:
        if name == b"via":
            via.append(value)
        elif name not in dropped and not _is_alias(name):
            lines.append(b"%b: %b\r\n" % (name, value))
    if _accepts_trailers(headers):
        lines.append(b"te: trailers\r\nconnection: te\r\n")
    lines += _identity(headers, said, client, client.host in config.trusted)
    lines.append(b"via: %b\r\n" % b", ".join([*via, config.via(version)]))
    members = [each.strip(b" \t") for value in via for each in value.split(b",")]
    loops = any(config.via(each) in members for each in ("1.0", "1.1"))
    return b"".join(lines), loops


def _is_login(field: tuple[bytes, bytes]) -> bool:
    name, value = field
    return name == b"authorization" and value.partition(b" ")[0].lower() in BY_CONNECTION


def _is_alias(name: bytes) -> bool:
    """Whether a name is another spelling of one that matters."""
    return (b"_" in name or b"." in name) and name.replace(b".", b"_").replace(
        b"-", b"_"
    ) in ALIASES


def offer(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """What Upgrade offers, to be offered again (RFC 9110 7.8); b"": nothing that we pass on.

    Another HTTP is not: in such a tunnel a client would send requests that nobody here has seen,
    past all that the proxy is there for (RFC 9113 3.1 has withdrawn ``h2c``).
    """
    return b", ".join(
        [
            each
            for each in _protocols(headers)
            if PROTOCOL(each) and each.partition(b"/")[0].lower() not in OTHER_HTTP
        ]
    )


def answers_offer(
    answer: Iterable[tuple[bytes, bytes]], headers: Iterable[tuple[bytes, bytes]]
) -> bool:
    """Whether what a 101 switches to is what was offered (RFC 9110 15.2.2)."""
    offered = {each.strip(b" \t").lower() for each in offer(headers).split(b",")} - {b""}
    chosen = {each.lower() for each in _protocols((name.lower(), text) for name, text in answer)}
    return bool(chosen) and chosen <= offered


def _protocols(headers: Iterable[tuple[bytes, bytes]]) -> list[bytes]:
    return [
        member.strip(b" \t")
        for name, value in headers
        if name == b"upgrade"
        for member in value.split(b",")
    ]


def spend_hop(fields: bytes) -> bytes | None:
    """The fields of an OPTIONS with a hop less to go; None: this is the last (RFC 9110 7.6.2)."""
    left = MAX_FORWARDS(fields)
    if left is None:
        return fields
    if not int(left[1]):
        return None
    return b"%b%d%b" % (fields[: left.start(1)], int(left[1]) - 1, fields[left.end(1) :])


def trailer_lines(trailers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The trailers of a request that may go on, as lines."""
    return b"".join(
        [
            b"%b: %b\r\n" % (name, value)
            for name, value in trailers
            if name not in NOT_IN_TRAILERS and not _is_alias(name)
        ]
    )


def _accepts_trailers(headers: list[tuple[bytes, bytes]]) -> bool:
    """RFC 9110 10.1.4: the only member of TE that is for those behind us."""
    return any(
        member.strip(b" \t").lower() == b"trailers"
        for name, value in headers
        if name == b"te"
        for member in value.split(b",")
    )


def _identity(
    headers: list[tuple[bytes, bytes]], said: dict[bytes, bytes], client: Client, trusted: bool
) -> list[bytes]:
    """Who asks, by what scheme and for which host: our word, behind a trusted proxy's."""
    peer = b"unix:" if client.host is None else client.host.encode("ascii", "replace")
    scheme = client.scheme.encode()
    host = said.get(b"host", b"")
    port = b"%d" % client.port
    hop = b"for=%b;host=%b;proto=%b" % (_node(client.host), _quoted(host), scheme)
    if not trusted:
        before, standard = [], []
    else:
        before = [value for name, value in headers if name == FOR]
        standard = [value for name, value in headers if name == STANDARD]
        scheme, port = said.get(PROTO, scheme), said.get(PORT, port)
        host = said.get(HOST, host)
    lines = [
        b"x-forwarded-for: %b\r\n" % b", ".join([*before, peer]),
        b"x-forwarded-proto: %b\r\n" % scheme,
        b"x-forwarded-host: %b\r\n" % host,
    ]
    if port != b"0":
        lines.append(b"x-forwarded-port: %b\r\n" % port)
    lines.append(b"forwarded: %b\r\n" % b", ".join([*standard, hop]))
    return lines


def _node(host: str | None) -> bytes:
    """A node of RFC 7239 section 6."""
    if host is None:
        return b"unknown"
    return b'"[%b]"' % host.encode("ascii", "replace") if ":" in host else host.encode()


def _quoted(value: bytes) -> bytes:
    """A token as it is, anything else (a host with a port) as a quoted string."""
    if TOKEN(value):
        return value
    return b'"%b"' % value.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
