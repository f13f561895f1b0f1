"""The open WebSockets of a worker: their clock, and their end when the worker must go."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from balancer.apps.asgi.websocket.config import WebSocketConfig
    from balancer.apps.asgi.websocket.wire import Wire

__all__ = ["SERVICE_RESTART", "WebSockets"]

SERVICE_RESTART = 1012
"""Registered for RFC 6455's registry of codes: a client may reconnect, after a random delay."""


@final
class WebSockets:
    """All of them, for those who act on all of them."""

    def __init__(self, config: WebSocketConfig) -> None:
        self.config = config
        self.now = 0.0
        """The reaper's clock: seconds; the zero means nothing."""
        self._wires: set[Wire] = set()
        self._leaving = False

    def add(self, wire: Wire) -> None:
        """One was opened; where the others have been closed, it is at once."""
        self._wires.add(wire)
        if self._leaving:
            self._farewell(wire)

    def discard(self, wire: Wire) -> None:
        """One has ended."""
        self._wires.discard(wire)

    def tick(self, now: float) -> None:
        """Time has moved: look for deadlines."""
        self.now = now
        for wire in list(self._wires):
            if wire.deadline <= now:
                wire.tick()

    def farewell(self) -> bool:
        """Close all of them; False: there are none."""
        self._leaving = True
        for wire in list(self._wires):
            self._farewell(wire)
        return bool(self._wires)

    def resume(self) -> None:
        """Let new ones live."""
        self._leaving = False

    def _farewell(self, wire: Wire) -> None:
        wire.close_nowait(SERVICE_RESTART, "service restart")
