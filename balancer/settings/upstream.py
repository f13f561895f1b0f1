"""A server to stand in front of: ``UPSTREAM[,weight=N][,max=N][,backup]``.

The first comma ends the address, so a socket's path has none.  Only the words are taken apart here:
a name is looked up by who connects, and again whenever its answer is too old.

A URL that means more than a server (a path, a query, a password) is refused rather than cut short:
elsewhere the path of such a URL is put in front of the request's, or instead of it, and whoever
writes one should learn that nothing of the kind happens here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import TYPE_CHECKING, final

from balancer.settings.hostport import DIGITS, check_unix_path, join_host_port, split_ipv6

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "MAX_WEIGHT",
    "Upstream",
    "check_upstream",
    "check_upstreams",
    "parse_upstream",
    "upstream_text",
]

MAX_WEIGHT = 256
MAX_CONNECTIONS = 2**31 - 1
PORTS = {"http": 80, "https": 443}

OPTIONS = ("weight", "max", "backup")

_FORMS = "write HOST:PORT, http://HOST:PORT, https://HOST:PORT, [IPV6]:PORT or unix:/PATH"
_OPTIONS = "there are weight=N, max=N and backup"
# RFC 1123 section 2.1, and the underscore, which names of containers have
_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?", re.ASCII)
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://", re.ASCII)
MAX_NAME = 253  # RFC 1035: 255 bytes on the wire


@final
@dataclass(frozen=True, slots=True)
class Upstream:
    """One server, or the servers behind one name.

    Attributes:
        text: As it was given, for messages; ``parse_upstream`` reads it back.
        scheme: "http" or "https".
        host: A name or an address (IPv6 without brackets); "" for a UNIX socket.
        port: 80 or 443 when none was given.
        path: Of a UNIX socket.
        weight: How much of the load it gets, beside the others.
        max: Connections at a time, of all workers together; 0 is any number.
        backup: Used only when no other upstream can be.
    """

    text: str
    scheme: str
    host: str
    port: int
    path: str | None = None
    weight: int = 1
    max: int = 0
    backup: bool = False

    def __str__(self) -> str:
        """The server alone, without options: ``http://HOST:PORT``."""
        if self.path is not None:
            return f"unix:{self.path}"
        return f"{self.scheme}://{join_host_port(self.host, str(self.port))}"

    @property
    def authority(self) -> str:
        """What stands in Host for it where nothing else is known (RFC 9110 7.2)."""
        if self.path is not None:
            return "localhost"
        host = self.host.partition("%")[0]  # RFC 6874 4: an interface is nobody else's business
        if self.port != PORTS[self.scheme]:
            return join_host_port(host, str(self.port))
        return f"[{host}]" if ":" in host else host

    @property
    def server(self) -> tuple[str, str, int, str | None]:
        """What it stands for: two upstreams with the same are one server."""
        return self.scheme, _plain(self.host), self.port, self.path


def check_upstream(text: str) -> str:
    """``text`` itself, when ``parse_upstream`` would take it; else ``ValueError``."""
    parse_upstream(text)
    return text


def parse_upstream(text: str) -> Upstream:
    """One upstream; without a scheme it is http, without a port 80 (https: 443).

    Raises:
        ValueError: the text is none of the forms, or an option is unknown, wrong or there twice.
    """
    address, *options = text.split(",")
    scheme, host, port, path = _parse_address(address)
    weight, most, backup = _parse_options(options)
    return Upstream(text, scheme, host, port, path, weight, most, backup)


def upstream_text(table: Mapping[str, object]) -> str:
    """What ``{address = "app:80", weight = 2, backup = true}`` is as text.

    Raises:
        ValueError: the address has options of its own.
    """
    address = str(table["address"])
    if "," in address:
        raise ValueError("the address of a table has no options behind it; they are keys beside it")
    options = [f"{name}={table[name]}" for name in ("weight", "max") if name in table]
    return ",".join([address, *options, *(["backup"] if table.get("backup") else [])])


def check_upstreams(upstreams: Sequence[Upstream]) -> None:
    """Whether these can stand together.

    Raises:
        ValueError: there is none, all are backups, or two are the same server.
    """
    if not upstreams:
        raise ValueError("no upstream; name at least one server, such as 127.0.0.1:9000")
    if all(each.backup for each in upstreams):
        raise ValueError(
            f"{upstreams[0].text}: is a backup, and so is every other upstream; "
            "leave the word away at one of them"
        )
    seen: dict[object, Upstream] = {}
    for each in upstreams:
        first = seen.setdefault(each.server, each)
        if first is not each:
            raise ValueError(
                f"{each.text}: is the same server as {first.text}; name it once (weight=2 gives "
                "it twice the load)"
            )


def _parse_address(text: str) -> tuple[str, str, int, str | None]:
    if text.startswith("unix:"):
        return "http", "", PORTS["http"], _parse_path(text.removeprefix("unix:"))
    if any(letter.isspace() for letter in text):
        raise ValueError(
            "there is a blank in it; name each upstream by itself, and its options behind commas "
            "without blanks: HOST:PORT,weight=2"
        )
    match = _SCHEME.match(text)
    scheme = match[1].lower() if match else "http"
    if scheme == "tcp":
        raise ValueError(
            "there are no tcp:// upstreams yet; only HTTP servers can be stood in front of"
        )
    if scheme not in PORTS:
        raise ValueError(f"{scheme}:// is no scheme of an upstream; {_FORMS}")
    rest = text[match.end() :].removesuffix("/") if match else text
    _refuse_more_than_a_server(rest)
    host, port = _split(rest)
    return scheme, host, PORTS[scheme] if port is None else _parse_port(port), None


def _refuse_more_than_a_server(rest: str) -> None:
    # before the @, because a password may hold any of the others
    if "@" in rest:
        raise ValueError("an upstream has no user or password; leave away what is before the @")
    for mark, what in {"?": "query", "#": "fragment", "/": "path"}.items():
        if mark in rest:
            raise ValueError(
                f"an upstream has no {what}, since requests keep their own; leave away the {mark} "
                "and what follows"
            )


def _parse_path(path: str) -> str:
    if not path.startswith("/"):
        # a worker may run in another folder than this one
        raise ValueError("the path must begin with /; write unix:/PATH")
    if not path.isprintable():
        raise ValueError("the path has characters that can't be printed")
    return check_unix_path(path, "unix:/PATH")


def _split(text: str) -> tuple[str, str | None]:
    """Host and port of ``HOST[:PORT]``."""
    if not text:
        raise ValueError(f"no host; {_FORMS}")
    if text.partition("=")[0] in OPTIONS:
        raise ValueError(
            f"{text} is an option; it stands behind an upstream and a comma: HOST:PORT,{text}"
        )
    if DIGITS.fullmatch(text):
        raise ValueError(f"a port needs a host; did you mean 127.0.0.1:{text}?")
    if text.startswith("["):
        return split_ipv6(text, "[::1]:9000")
    host, colon, port = text.rpartition(":") if ":" in text else (text, "", "")
    if ":" in host:
        raise ValueError("an IPv6 address needs brackets; write [::1]:9000")
    _check_host(host, port)
    return host, port if colon else None


def _check_host(host: str, port: str) -> None:
    if not host:
        raise ValueError(f"no host; did you mean 127.0.0.1:{port}?")
    if not host.isascii():
        raise ValueError("a name has ASCII letters only; write the form that begins with xn--")
    labels = host.removesuffix(".").split(".")
    if not all(_LABEL.fullmatch(label) for label in labels) or len(host) > MAX_NAME:
        raise ValueError(f"not the name or address of a host; {_FORMS}")
    if labels[-1].isdecimal():
        _check_ipv4(host)


def _check_ipv4(host: str) -> None:
    # the C library takes 127.1, 010.0.0.1 and 1 for addresses, and not for those that people mean
    try:
        IPv4Address(host)
    except AddressValueError:
        raise ValueError("not an IPv4 address; write four numbers, as in 127.0.0.1") from None


def _parse_port(text: str) -> int:
    if not DIGITS.fullmatch(text) or not 0 < int(text) < 65536:
        app = "; an app is served by another command: balancer serve" if text.isidentifier() else ""
        raise ValueError(f"the port must be a number from 1 to 65535{app}")
    return int(text)


def _parse_options(options: list[str]) -> tuple[int, int, bool]:
    found: dict[str, str | None] = {}
    for option in options:
        name, equals, value = option.strip().partition("=")
        if not name and not equals:
            raise ValueError("nothing follows a comma; take it away or name an option")
        if name not in OPTIONS:
            if ":" in option or "." in option:
                raise ValueError(
                    f"{option} is another upstream: a blank belongs before it, no comma"
                )
            raise ValueError(f"unknown option {name!r}; {_OPTIONS}")
        if name in found:
            raise ValueError(f"the option {name} is there twice")
        found[name] = value if equals else None
    if found.get("backup") is not None:
        raise ValueError("the option backup has no value; write ,backup alone")
    weight = _number("weight", found, 1, MAX_WEIGHT) if "weight" in found else 1
    most = _number("max", found, 0, MAX_CONNECTIONS) if "max" in found else 0
    return weight, most, "backup" in found


def _number(name: str, found: dict[str, str | None], lowest: int, highest: int) -> int:
    text = found[name] or ""
    if not DIGITS.fullmatch(text) or not lowest <= int(text) <= highest:
        raise ValueError(f"{name} must be a whole number from {lowest} to {highest}")
    return int(text)


def _plain(host: str) -> str:
    """One spelling of a host that has several."""
    if ":" in host:
        return str(IPv6Address(host))
    return host.lower().removesuffix(".")
