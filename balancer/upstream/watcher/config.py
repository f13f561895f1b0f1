"""What the watcher is told: one line of JSON on its standard input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import msgspec

__all__ = ["INTERNAL", "WatcherConfig"]

INTERNAL = frozenset({"hosts", "resolv_conf", "dns_port"})


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class WatcherConfig:
    """The settings of the same names, which explain them; times in seconds.

    ``INTERNAL`` are not for users: tests have files and a name server of their own.
    """

    upstreams: tuple[str, ...]
    upstream_host: str | None = None
    upstream_ca: str | None = None
    upstream_verify: bool = True
    probe: str = "tcp"
    probe_interval: float = 2.0
    probe_timeout: float = 1.0
    probe_rise: int = 2
    probe_fall: int = 3
    dns_max_ttl: float = 5.0
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
