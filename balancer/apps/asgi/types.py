"""The names of ASGI 3 (asgi.readthedocs.io), and what this server is told about an app."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, final

from balancer.apps.asgi.websocket.config import WebSocketConfig

if TYPE_CHECKING:
    from balancer.settings import TrustedPeers

__all__ = ["AsgiApp", "AsgiConfig", "Message", "Receive", "Scope", "Send"]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
AsgiApp = Callable[[Scope, Receive, Send], Awaitable[None]]


@final
@dataclass(frozen=True, slots=True)
class AsgiConfig:
    """How an app is served.

    Attributes:
        name: As the user called it, for messages.
        lifespan: ``auto``, ``on`` or ``off``.
        root_path: Where a proxy in front has mounted it; no slash at its end.
        trusted: Whose X-Forwarded-* and Forwarded are believed.
        websocket: Limits and clocks of WebSockets.
    """

    name: str
    lifespan: str
    root_path: str
    trusted: TrustedPeers
    websocket: WebSocketConfig = field(default_factory=WebSocketConfig)
