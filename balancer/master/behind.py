"""The servers behind, as far as they are taken out of service and put back by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from balancer.net.endpoints import EndpointRow

__all__ = ["Behind"]


class Behind(Protocol):
    """The endpoints; what they are called is an address, or what was written for it.

    Raises:
        BalancerError: there is no such upstream.
    """

    def drain(self, name: str) -> Sequence[EndpointRow]:
        """Give it no new requests; its endpoints."""
        ...

    async def idle(self, rows: Sequence[EndpointRow], name: str) -> None:
        """Return when these have no request any more; RunError when one is resumed before."""
        ...

    def resume(self, name: str) -> None:
        """Give it requests again."""
        ...

    def weigh(self, name: str, weight: int) -> None:
        """Give it another share."""
        ...
