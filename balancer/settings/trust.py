"""Whose word about the client is taken: the peers that ``--forwarded-allow-ips`` names.

A proxy in front says in X-Forwarded-For, X-Forwarded-Proto or Forwarded who its client is.  Anybody
can say that, so it is believed only of peers that are listed.
"""

from __future__ import annotations

from functools import lru_cache
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from collections.abc import Iterable
    from ipaddress import IPv4Network, IPv6Network

__all__ = ["TrustedPeers", "parse_peer"]

EVERYBODY = "*"
NOBODY = "none"
LOCAL = "unix:"
"""Peers on UNIX sockets, which have no address: who may connect is up to the path's permissions."""


def parse_peer(text: str) -> str:
    """One entry in its normal form: an address, a network, ``unix:``, ``*`` or ``none``.

    Raises:
        ValueError: it is none of these.
    """
    entry = text.strip()
    if entry in {EVERYBODY, LOCAL, NOBODY}:
        return entry
    try:
        return str(_network(entry))
    except ValueError:
        raise ValueError("not an address, a network like 10.0.0.0/8, unix:, * or none") from None


def _network(entry: str) -> IPv4Network | IPv6Network:
    return ip_network(entry, strict=False)


@final
class TrustedPeers:
    """The peers of a list, as ``parse_peer`` returns its entries."""

    def __init__(self, entries: Iterable[str]) -> None:
        entries = set(entries)
        self._everybody = EVERYBODY in entries
        self._local = self._everybody or LOCAL in entries
        self._networks = [_network(each) for each in sorted(entries - {EVERYBODY, LOCAL, NOBODY})]
        self._has = lru_cache(maxsize=1024)(self._look_up)

    def __contains__(self, host: str | None) -> bool:
        """Whether a host is listed; None is a peer on a UNIX socket."""
        if host is None:
            return self._local
        return self._everybody or self._has(host)

    def _look_up(self, host: str) -> bool:
        try:
            address = ip_address(host.partition("%")[0])
        except ValueError:  # a name that some proxy made up
            return False
        mapped = getattr(address, "ipv4_mapped", None)
        # a v4 client of a dual-stack listener is ::ffff:1.2.3.4, and listed as 1.2.3.4
        candidates = [address] if mapped is None else [address, mapped]
        return any(each in network for each in candidates for network in self._networks)
