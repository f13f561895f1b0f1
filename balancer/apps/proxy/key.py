"""What of a request decides where it goes: the key of a hash policy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from balancer.core.forwarded import read_forwarded
from balancer.settings.policy import KeySource

if TYPE_CHECKING:
    from collections.abc import Callable

    from balancer.core.forwarded import Trusted
    from balancer.http1.exchange import Exchange
    from balancer.settings.policy import PolicyChoice

    KeyReader = Callable[[Exchange], bytes]

__all__ = ["cookie", "key_reader"]


def key_reader(choice: PolicyChoice, trusted: Trusted) -> KeyReader | None:
    """What makes the key of a request, b"" where it has none; None: the policy needs none.

    Args:
        choice: The policy.
        trusted: Proxies whose word on the client's address is taken.
    """
    name = choice.key_name.encode()
    readers: dict[KeySource | None, KeyReader | None] = {
        None: None,
        KeySource.IP: lambda exchange: _address(exchange, trusted),
        KeySource.HEADER: lambda exchange: _header(exchange, name),
        KeySource.COOKIE: lambda exchange: cookie(exchange, name),
        KeySource.URI: lambda exchange: exchange.origin,
    }
    return readers[choice.key_source]


def cookie(exchange: Exchange, name: bytes) -> bytes:
    """A cookie's value (RFC 6265 5.4); the first, where there are several; b"": none."""
    for field, value in exchange.headers:
        if field == b"cookie":
            for pair in value.split(b";"):
                key, _, found = pair.strip(b" \t").partition(b"=")
                if key == name:
                    return found
    return b""


def _address(exchange: Exchange, trusted: Trusted) -> bytes:
    client = exchange.client
    host = client[0] if isinstance(client, tuple) else None
    said = read_forwarded(exchange.headers, host, trusted).client
    return (said[0] if said is not None else host or "").encode()


def _header(exchange: Exchange, name: bytes) -> bytes:
    return b",".join([value for field, value in exchange.headers if field == name])
