"""What can go wrong with an upstream, in the terms of ``core.retry``."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from balancer.core.retry import Failure

__all__ = ["ClientLeft", "UpstreamError"]


@final
class UpstreamError(Exception):
    """An attempt failed; ``reason`` is for the log, and names no part of the request."""

    def __init__(self, failure: Failure, reason: str) -> None:
        super().__init__(reason)
        self.failure = failure
        self.reason = reason


@final
class ClientLeft(Exception):  # noqa: N818 - nobody's fault
    """Nobody waits for the answer any more: the attempt is to be given up."""
