"""How far a response is."""

from __future__ import annotations

from enum import Enum

__all__ = ["DONE", "PENDING", "STARTED", "STREAMING", "TUNNEL", "Phase"]


class Phase(Enum):
    """How far the response is."""

    PENDING = "nothing was said"
    STARTED = "the head waits for the first piece of the body"
    STREAMING = "the head was sent"
    DONE = "everything was sent"
    TUNNEL = "the connection is the handler's"


# read on every request, and an Enum member is a slow attribute
PENDING, STARTED, STREAMING = Phase.PENDING, Phase.STARTED, Phase.STREAMING
DONE, TUNNEL = Phase.DONE, Phase.TUNNEL
