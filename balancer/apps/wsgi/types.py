"""The names of PEP 3333, and what this server is told about an app."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final
from wsgiref.util import FileWrapper

if TYPE_CHECKING:
    from balancer.settings import TrustedPeers

__all__ = ["Environ", "FileWrapper", "WsgiApp", "WsgiConfig"]

Environ = dict[str, Any]
WsgiApp = Callable[[Environ, Callable[..., Callable[[bytes], object]]], Iterable[bytes]]


@final
@dataclass(frozen=True, slots=True)
class WsgiConfig:
    """How an app is served.

    Attributes:
        name: As the user called it, for messages.
        threads: How many of its requests run at once.
        root_path: Where a proxy in front has mounted it; no slash at its end.
        trusted: Whose X-Forwarded-* and Forwarded are believed.
    """

    name: str
    threads: int
    root_path: str
    trusted: TrustedPeers
