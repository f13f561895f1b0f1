"""What a server can be told: the control protocol's requests as calls.

``Operations`` does it, ``control`` passes on what comes by the socket, ``signals`` what comes by
signal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from balancer.core.control import (
    Drain,
    DrainUpstream,
    LogLevel,
    Reload,
    Reopen,
    Restart,
    Resume,
    ResumeUpstream,
    Scale,
    Stop,
    Upgrade,
    Weigh,
)

if TYPE_CHECKING:
    from balancer.core.control import Request, Status

__all__ = ["Commands", "obey"]


class Commands(Protocol):
    """What the master can be told; a ``BalancerError`` is a refusal, and its text the reason.

    Each returns when the thing is begun, or with ``wait`` when it is done; and may be cancelled
    while it waits, which changes nothing.
    """

    def status(self) -> Status:
        """Everything, now."""
        ...

    async def reload(self, *, wait: bool = False) -> None:
        """Begin to read the configuration again and to roll the workers; or do so (``wait``)."""
        ...

    async def restart(self, worker_id: int | None, *, wait: bool = False) -> None:
        """Roll the workers, or replace one, with the configuration as it is."""
        ...

    async def upgrade(self, *, wait: bool = False) -> None:
        """Begin to be replaced by another master."""
        ...

    async def reopen(self) -> None:
        """Have the workers open their log files anew."""
        ...

    async def scale(self, workers: int | None, *, by: int = 0, wait: bool = False) -> int:
        """Have that many workers; without a number, ``by`` more or less; how many that are."""
        ...

    async def drain(self, worker_id: int, *, wait: bool = False) -> None:
        """Drain one worker."""
        ...

    async def resume(self, worker_id: int) -> None:
        """Put it back into service."""
        ...

    async def drain_upstream(self, upstream: str, *, wait: bool = False) -> None:
        """Give an upstream no new requests."""
        ...

    async def resume_upstream(self, upstream: str) -> None:
        """Give it requests again."""
        ...

    async def weigh(self, upstream: str, weight: int) -> None:
        """Give it another share."""
        ...

    async def log_level(self, level: str) -> None:
        """Log more, or less."""
        ...

    async def stop(self, *, quick: bool, wait: bool = False) -> None:
        """Stop the server."""
        ...


async def obey(request: Request, commands: Commands) -> object:
    """Do what a request says, whichever it is but ``GetStatus``; the result for its reply."""
    match request:
        case Reload(wait=wait):
            await commands.reload(wait=wait)
        case Restart(worker_id=worker_id, wait=wait):
            await commands.restart(worker_id, wait=wait)
        case Upgrade(wait=wait):
            await commands.upgrade(wait=wait)
        case Reopen():
            await commands.reopen()
        case Scale(workers=workers, by=by, wait=wait):
            return await commands.scale(workers, by=by, wait=wait)
        case Drain(worker_id=worker_id, wait=wait):
            await commands.drain(worker_id, wait=wait)
        case Resume(worker_id=worker_id):
            await commands.resume(worker_id)
        case DrainUpstream(upstream=upstream, wait=wait):
            await commands.drain_upstream(upstream, wait=wait)
        case ResumeUpstream(upstream=upstream):
            await commands.resume_upstream(upstream)
        case Weigh(upstream=upstream, weight=weight):
            await commands.weigh(upstream, weight)
        case LogLevel(level=level):
            await commands.log_level(level)
        case Stop(quick=quick, wait=wait):
            await commands.stop(quick=quick, wait=wait)
    return None
