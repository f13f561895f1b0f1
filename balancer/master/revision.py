"""From one edition of the list of upstreams to the next: first what it needs, then its rows.

Asking may take long, and may fail, and changes nothing.  What follows can't fail: an upstream that
there is no room for gets a warning.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, final

from balancer.errors import UsageError
from balancer.master.pools import revise
from balancer.net.endpoints import ENDPOINTS
from balancer.upstream.placement import UNIX, place_all, resolve

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from balancer.master.pools import Book, Pool
    from balancer.net.endpoints import Address, EndpointTable
    from balancer.settings import Settings

__all__ = ["Change", "apply", "ask", "compare"]


@final
@dataclass(frozen=True, slots=True)
class Change:
    """What other settings mean for the upstreams.

    Attributes:
        before: The book that it starts from.
        book: The next one.
        settings: Those that it is made of.
        found: The addresses of the upstreams that may need rows.
    """

    before: Book
    book: Book
    settings: Settings
    found: Mapping[int, tuple[Address, ...]] = field(default_factory=dict)

    def summary(self) -> str:
        """What is another one than before, for the log; empty where nothing is."""
        before, now = _names(self.before), _names(self.book)
        told = [f"+ {name}" for number, name in now.items() if number not in before]
        told += [f"- {name}" for number, name in before.items() if number not in now]
        old, new = self.before.upstreams(), self.book.upstreams()
        for number in old.keys() & new.keys():
            if _options(old[number].text) != _options(new[number].text):
                told.append(f"{now[number]} is {new[number].text}")
        return ", ".join(told)


def compare(book: Book, settings: Settings) -> Change:
    """What these settings would change.

    Raises:
        UsageError: there are too many pools.
    """
    return Change(book, revise(book, settings), settings)


def ask(change: Change, table: EndpointTable | None) -> Change:
    """The change with the addresses that it needs; blocks for ``placement.PATIENCE`` at most.

    Raises:
        UsageError: an upstream has no address, or all of them too many; or the certificates to
            trust can't be read.
    """
    for pool in change.book.pools:
        _try_context(pool)
    placed = _placed(change.book, table)
    # Who was taken away and is put back has rows, but they may go while we ask.
    fleeting = {each.number for each in change.before.left}
    asked = [
        (number, upstream, pool.settings.where("upstreams"))
        for pool in change.book.pools
        for number, upstream in pool.upstreams.items()
        if number not in placed or number in fleeting
    ]
    answers = resolve([(upstream, where) for _, upstream, where in asked])
    found = {number: answer for (number, _, _), answer in zip(asked, answers, strict=True)}
    _check_room(change.book, placed, found)
    return replace(change, found=found)


def apply(change: Change, table: EndpointTable) -> list[str]:
    """Make the table's rows those of the new edition, but for those that old workers may need.

    Returns:
        What is worth a warning, as sentences.
    """
    for pool in change.book.pools:
        table.add_pool(pool.number)
    _reweigh(change, table)
    _make_room(change, table)
    placed = _placed(change.book, table)
    warnings = []
    for pool in change.book.pools:
        found = {
            number: change.found[number]
            for number in pool.upstreams
            if number in change.found and number not in placed
        }
        warnings += place_all(table, pool.upstreams, found, pool.prefix)
    return warnings


def _names(book: Book) -> dict[int, str]:
    return {
        number: f"{pool.prefix}{upstream}"
        for pool in book.pools
        for number, upstream in pool.upstreams.items()
    }


def _options(text: str) -> str:
    return text.partition(",")[2]


def _try_context(pool: Pool) -> None:
    """The workers make their own: here it is only tried."""
    settings = pool.settings
    if settings.upstream_ca or any(each.scheme == "https" for each in pool.upstreams.values()):
        where = settings.where("upstream_ca")
        # TLS, and HTTP with it, is for those who need it
        from balancer.upstream.handshake import make_context

        make_context(settings.upstream_ca, verify=settings.upstream_verify, where=where)


def _placed(book: Book, table: EndpointTable | None) -> dict[int, list[Address]]:
    """The addresses that the upstreams of a book have rows for."""
    placed: dict[int, list[Address]] = {}
    numbers = book.upstreams().keys()
    for row in table.heads.states() if table is not None else ():
        if row.upstream in numbers:
            placed.setdefault(row.upstream, []).append(row.address)
    return placed


def _check_room(
    book: Book,
    placed: Mapping[int, Collection[Address]],
    found: Mapping[int, Collection[Address]],
) -> None:
    count = 0
    for pool in book.pools:
        all_of_them = [
            address
            for number in pool.upstreams
            for address in placed.get(number) or found.get(number, ())
        ]
        count += len(set(all_of_them) - {UNIX}) + all_of_them.count(UNIX)
        if count > ENDPOINTS:
            raise UsageError(
                f"{pool.settings.where('upstreams')}: these servers have {count} addresses "
                f"together, and {ENDPOINTS} is the most that one server can stand in front of; "
                "name fewer of them"
            )


def _reweigh(change: Change, table: EndpointTable) -> None:
    """Where the settings say another weight than before; else what was said by hand holds."""
    before, now = change.before.known(), change.book.upstreams()
    for row in table.heads.states():
        new, old = now.get(row.upstream), before.get(row.upstream)
        if new is not None and old is not None and new.weight != old.weight:
            table.heads.reweigh(row.index, new.weight)


def _make_room(change: Change, table: EndpointTable) -> None:
    """Who has been taken away longest goes at once where there are too many."""
    edition = {each.number: each.edition for each in change.book.left}
    rows = table.heads.states()
    leaving = sorted(
        (row for row in rows if row.upstream in edition), key=lambda row: edition[row.upstream]
    )
    wanted = sum(len(each) for each in change.found.values())
    surplus = max(0, len(rows) + wanted - ENDPOINTS)
    for row in leaving[:surplus]:
        table.heads.remove(row.index)
