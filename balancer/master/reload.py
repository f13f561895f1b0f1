"""A reload, as far as no worker is needed for it: read, check, prepare; put in force, or undo.

Everything that can fail is done first and taken back if something does, so that a reload that is
given up has changed nothing: ``prepare`` reads the configuration and opens what it needs, and
between it and ``commit`` a fork server and a first worker show whether it works.  What a setting is
at ``commit`` is said by ``settings.taken``: some are the master's, which every part reads when it
needs them (``live``); most are the next workers', which have them from their birth; and a few
can't change while the server runs, and are said to.
"""

from __future__ import annotations

import dataclasses
import logging
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, final

from balancer import log
from balancer.errors import BalancerError
from balancer.hooks import Hooks
from balancer.master.live import Edition
from balancer.settings.changes import compare, keep
from balancer.settings.taken import Taken

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from balancer.core.messages import Configure
    from balancer.master.dispatcher import Dispatcher
    from balancer.master.live import Live
    from balancer.master.ports import Ports
    from balancer.master.surroundings import Surroundings
    from balancer.settings import Settings
    from balancer.settings.changes import Change

__all__ = ["Pools", "Reload", "Reloader"]

logger = logging.getLogger("balancer")

OF_POOLS = frozenset({"upstreams", "upstream_ca", "upstream_verify"})
"""What the table of the upstreams is made from."""


class Pools(Protocol):
    """The upstreams: their table has those of several editions, as long as there are workers."""

    async def adopt(self, settings: Settings) -> object:
        """Have what these settings name in the table, too, for the next workers.

        Raises:
            BalancerError: a name can't be resolved, say; then nothing has changed.
        """
        ...


@final
@dataclass(frozen=True, slots=True, eq=False)
class Reload:
    """What is prepared.

    Attributes:
        edition: What the next workers are born with.
        configure: What their fork server is told.
        queue: The bound of the queues.
        changes: What differs from what is in force.
    """

    edition: Edition
    configure: Configure
    queue: int
    changes: Sequence[Change] = ()
    _undo: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def undo(self) -> None:
        """It isn't wanted: everything is as it was before ``prepare``."""
        await self._undo.aclose()

    def settle(self) -> None:
        """It is in force: there is no way back."""
        self._undo.pop_all()


@final
class Reloader:
    """Prepares reloads, one at a time.

    Args:
        live: What is in force.
        surroundings: Reads the configuration.
        check: Raises BalancerError for settings that this machine can't serve; the settings as they
            can be served, and the bound of the queues.
        configure: What a fork server is told of settings.
        ports: The listeners.
        dispatcher: Who accepts from them.
        pools: The upstreams, if there are any.
    """

    def __init__(
        self,
        live: Live,
        surroundings: Surroundings,
        check: Callable[[Settings], tuple[Settings, int]],
        configure: Callable[[Settings], Configure],
        ports: Ports,
        dispatcher: Dispatcher,
        pools: Pools | None = None,
    ) -> None:
        self._live = live
        self._surroundings = surroundings
        self._check = check
        self._configure = configure
        self._ports = ports
        self._dispatcher = dispatcher
        self._pools = pools

    async def prepare(self, *, reread: bool) -> Reload:
        """Everything that can be done beforehand; where that fails, nothing has changed.

        Raises:
            BalancerError: why it can't be done.
        """
        async with AsyncExitStack() as stack:
            stack.callback(self._surroundings.restore, self._surroundings.note())
            settings, hooks = self._live.settings, self._live.edition.hooks
            changes: list[Change] = []
            if reread and self._surroundings.readable:
                settings, hooks, changes = self._read()
                self._surroundings.settle_in(settings)
            settings, queue = self._check(settings)
            lanes = self._ports.prepare(settings, self._dispatcher)
            stack.callback(self._ports.drop, self._dispatcher)
            if self._pools is not None:
                before = self._live.settings
                await self._pools.adopt(settings)
                stack.push_async_callback(self._return, self._pools, before)
            edition = Edition(settings, hooks, lanes)
            return Reload(edition, self._configure(settings), queue, changes, stack.pop_all())

    async def _return(self, pools: Pools, before: Settings) -> None:
        try:
            await pools.adopt(before)
        except BalancerError as error:
            logger.error("the upstreams can't be what they were: %s", error)

    def _read(self) -> tuple[Settings, Hooks, list[Change]]:
        old = self._live.settings
        new, hooks = self._surroundings.read()
        changes = compare(old, new)
        if self._pools is None:  # nobody who could take them up
            changes = [
                dataclasses.replace(each, taken=Taken.AT_START) if each.name in OF_POOLS else each
                for each in changes
            ]
        return keep(old, new, changes), hooks or Hooks(), changes

    def commit(self, reload: Reload) -> None:
        """Put it in force."""
        settings = reload.edition.settings
        changed = {change.name for change in reload.changes}
        reload.settle()
        self._live.edition = reload.edition
        self._ports.adopt(reload.edition.lanes, settings.backlog)
        self._dispatcher.bound(reload.queue, settings.recall, settings.window)
        if "log_level" in changed:
            log.configure(settings.log_level)
        _say(reload.changes)


def _say(changes: Sequence[Change]) -> None:
    taken = [str(change) for change in changes if change.taken is not Taken.AT_START]
    if taken:
        logger.info("reload: changed: %s", ", ".join(taken))
    for change in changes:
        if change.taken is Taken.AT_START:
            logger.warning("reload: %s", change.warning)
