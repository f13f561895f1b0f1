"""Names: each is asked for again when its answer is too old, and its upstreams' rows follow."""

from __future__ import annotations

import logging
import socket
from typing import TYPE_CHECKING, final

import trio

from balancer.upstream.watcher.answers import Answer, Failed, combine, pause

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from balancer.net.endpoints import Address
    from balancer.upstream.watcher.hosts import Hosts
    from balancer.upstream.watcher.resolver import Resolver
    from balancer.upstream.watcher.roll import Roll

__all__ = ["Name"]

logger = logging.getLogger("balancer")

FAMILIES = (socket.AF_INET, socket.AF_INET6)


@final
class Name:
    """One upstream's name.

    Args:
        number: The upstream's.
        roll: Where its rows are.
        hosts: Who knows names without asking.
        resolver: Who else is asked.
        longest: Seconds that an answer may be used for.
    """

    def __init__(
        self, number: int, roll: Roll, hosts: Hosts, resolver: Resolver, longest: float
    ) -> None:
        self._number = number
        self._upstream = roll.upstreams[number]
        self._roll = roll
        self._hosts = hosts
        self._resolver = resolver
        self._longest = longest
        self._problem: str | None = None

    async def follow(self) -> None:
        """Until cancelled."""
        while True:
            seconds = await self.refresh()
            await trio.sleep(seconds)

    async def refresh(self) -> float:
        """Ask, and do what follows; seconds until it should be done again."""
        answers = self._known() or await self._ask()
        self._take(answers)
        return pause(answers, self._longest)

    def _known(self) -> list[Answer | Failed]:
        found = self._hosts.find(self._upstream.host)
        return [Answer(_of(family, found), self._longest) for family in FAMILIES] if found else []

    async def _ask(self) -> list[Answer | Failed]:
        from dns.rdatatype import RdataType

        answers: list[Answer | Failed] = [Failed(""), Failed("")]

        async def ask(place: int, kind: RdataType) -> None:
            answers[place] = await self._resolver.ask(self._upstream.host, kind)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, 0, RdataType.A)
            nursery.start_soon(ask, 1, RdataType.AAAA)
        return answers

    def _take(self, answers: Sequence[Answer | Failed]) -> None:
        rows = self._roll.addresses(self._number)
        before = {str(target[0]): (family, target) for family, target in rows}
        families = [_of(family, before) for family in FAMILIES]
        finding = combine(list(zip(answers, families, strict=True)))
        self._note(finding.problem)
        # what stays is left as it is: it may have an interface, which the text doesn't say
        now = [before.get(text) or self._address(text) for text in finding.addresses]
        self._roll.settle(self._number, now)

    def _address(self, text: str) -> Address:
        port = self._upstream.port
        if ":" in text:
            return int(socket.AF_INET6), (text, port, 0, 0)
        return int(socket.AF_INET), (text, port)

    def _note(self, problem: str | None) -> None:
        """Say what is wrong with the name, once for as long as it stays so."""
        if problem == self._problem:
            return
        self._problem = problem
        name = self._roll.name(self._number)
        if problem is None:
            logger.info("upstream %s: its name can be looked up again", name)
        else:
            logger.warning(
                "upstream %s: its name can't be looked up (%s): it keeps the addresses that it has",
                name,
                problem,
            )


def _of(family: int, addresses: Iterable[str]) -> tuple[str, ...]:
    return tuple(each for each in addresses if (":" in each) is (family == socket.AF_INET6))
