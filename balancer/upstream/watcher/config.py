"""What the watcher is told: one line of JSON on its standard input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import msgspec

from balancer.settings.upstream import parse_upstream

if TYPE_CHECKING:
    from balancer.settings.upstream import Upstream

__all__ = ["PoolConfig", "WatcherConfig"]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class PoolConfig:
    """One pool; what isn't explained here is the setting of that name, times in seconds.

    Attributes:
        name: "" where there is only one.
        numbers: What rows of the table call each of the upstreams; empty: 0, 1, 2 and so on.
    """

    upstreams: tuple[str, ...]
    numbers: tuple[int, ...] = ()
    name: str = ""
    upstream_host: str | None = None
    upstream_ca: str | None = None
    upstream_verify: bool = True
    probe: str = "tcp"
    probe_interval: float = 2.0
    probe_timeout: float = 1.0
    probe_rise: int = 2
    probe_fall: int = 3
    dns_max_ttl: float = 5.0

    def members(self) -> dict[int, Upstream]:
        """The upstreams, by number."""
        numbers = self.numbers or range(len(self.upstreams))
        return dict(zip(numbers, map(parse_upstream, self.upstreams), strict=True))


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class WatcherConfig:
    """All pools, and what holds for the process.

    ``hosts``, ``resolv_conf`` and ``dns_port`` are not for users: tests have files and a name
    server of their own.
    """

    pools: tuple[PoolConfig, ...] = ()
    log_level: str = "info"
    user: int | None = None
    group: int | None = None
    hosts: str = "/etc/hosts"
    resolv_conf: str = "/etc/resolv.conf"
    dns_port: int = 53

    def encode(self) -> bytes:
        """As a line."""
        return msgspec.json.encode(self) + b"\n"

    @classmethod
    def decode(cls, line: bytes) -> WatcherConfig:
        """Of a line; ``msgspec.MsgspecError`` where it is none."""
        return msgspec.json.decode(line, type=cls)
