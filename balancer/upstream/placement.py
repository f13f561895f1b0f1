"""Which addresses the upstreams have, and which rows of the table they get.

An upstream's name may have several addresses, and each is an endpoint of its own.  At the start,
before a port is bound, every name must have one (``resolve``): one that is misspelled should stop
the start, and not the first request.  From then on the watcher asks for them, and only what has
changed is changed (``reconcile``): an address that stays keeps its row, and with it its counters,
its health and its connections.

In a pool an address belongs to one upstream: the first that has it, until it has it no more.  Two
rows of one server would be counted apart, so ``max`` would let twice as many in, and a cookie that
leads back to a server couldn't say which row is meant.  Pools have nothing to do with each other: a
server that is in two of them has two rows.
"""

from __future__ import annotations

import socket
import threading
from collections import deque
from contextlib import suppress
from queue import Empty, SimpleQueue
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from balancer.errors import UsageError
from balancer.net.endpoints.address import pack_address, show_address, unpack_address

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from balancer.net.endpoints import Address, EndpointTable
    from balancer.settings.upstream import Upstream

__all__ = [
    "PATIENCE",
    "UNIX",
    "Change",
    "canonical",
    "has_name",
    "place_all",
    "reconcile",
    "resolve",
    "shared",
]

PATIENCE = 10.0
"""Seconds for all names together: the C library gives up after 5 s a name server."""
AT_ONCE = 16
UNIX: Address = (int(socket.AF_UNIX), "")

Found = list[tuple[Any, ...]]
"""What ``getaddrinfo`` returns."""


class Change(NamedTuple):
    """What makes an upstream's rows those of its addresses."""

    added: tuple[Address, ...]
    removed: tuple[int, ...]


def reconcile(
    current: Mapping[int, Address], now: Iterable[Address], taken: Collection[Address] = ()
) -> Change:
    """What to do about an upstream that has other addresses now.  Pure.

    Args:
        current: Its rows, by index.
        now: The addresses that it has, in any order, perhaps with repetitions.
        taken: The addresses of the pool's other upstreams, which it doesn't get.
    """
    wanted = dict.fromkeys(address for address in now if address not in taken)
    present = set(current.values())
    return Change(
        tuple(address for address in wanted if address not in present),
        tuple(index for index, address in current.items() if address not in wanted),
    )


def shared(current: Collection[Address], now: Iterable[Address]) -> list[Address]:
    """The addresses that an upstream has and that are already another one's."""
    return [each for each in dict.fromkeys(now) if each in current and each != UNIX]


def canonical(address: Address) -> Address:
    """The one spelling of an address, which the table gives back."""
    return unpack_address(*pack_address(address))


def has_name(upstream: Upstream) -> bool:
    """Whether it has a name, that somebody must be asked about, rather than an address."""
    host = upstream.host
    # a name's last label is never a number (settings.upstream)
    return upstream.path is None and ":" not in host and not host.rpartition(".")[2].isdecimal()


def resolve(
    asked: Sequence[tuple[Upstream, str]],
    *,
    patience: float = PATIENCE,
    lookup: Callable[[Upstream], Found] | None = None,
) -> list[tuple[Address, ...]]:
    """The addresses of every upstream, IPv4 and IPv6; blocks for ``patience`` seconds at most.

    Args:
        asked: Each with what named it, for the sentence about the one that is wrong.
        patience: In seconds, for all of them together.
        lookup: Instead of the C library's ``getaddrinfo``; may block and raise OSError.

    Raises:
        UsageError: one has no address.
    """
    answers = _ask([upstream for upstream, _ in asked], lookup or _getaddrinfo, patience)
    return [
        _read(upstream, answer, where)
        for (upstream, where), answer in zip(asked, answers, strict=True)
    ]


def place_all(
    table: EndpointTable,
    pool: Mapping[int, Upstream],
    found: Mapping[int, Iterable[Address]],
    prefix: str = "",
) -> list[str]:
    """Give rows to upstreams of a pool that have none; what is worth a warning, as sentences.

    Args:
        table: Where the rows are.
        pool: All upstreams of the pool, by number.
        found: The addresses of those that have no rows.
        prefix: What names begin with in a sentence.
    """
    rows = [row for row in table.heads.states() if row.upstream in pool]
    owners = {row.address: pool[row.upstream] for row in rows if row.address != UNIX}
    warnings = []
    for number, addresses in found.items():
        upstream, addresses = pool[number], tuple(addresses)
        warnings += [
            f"upstream {prefix}{upstream}: {show_address(each)} is an address of {owners[each]}, "
            "too, and counts as that one's"
            for each in shared(owners.keys(), addresses)
        ]
        for address in reconcile({}, addresses, owners.keys()).added:
            if table.place(number, address, weight=upstream.weight, now=monotonic()) is None:
                name = show_address(address) or str(upstream)
                warnings.append(f"upstream {prefix}{upstream}: there is no room for {name}")
            elif address != UNIX:
                owners[address] = upstream
    return warnings


def _read(upstream: Upstream, answer: Found | OSError | None, where: str) -> tuple[Address, ...]:
    if isinstance(answer, list) and answer:
        return tuple(dict.fromkeys(canonical((int(each[0]), each[4])) for each in answer))
    if not has_name(upstream):  # only an interface can be wrong
        reason = answer.strerror if isinstance(answer, OSError) else "no such address"
        raise UsageError(f"{where} {upstream.text}: can't be connected to from here: {reason}")
    reason = "no answer in time" if answer is None else "no address"
    if isinstance(answer, OSError):
        reason = answer.strerror or str(answer)
    raise UsageError(
        f"{where} {upstream.text}: the name {upstream.host} can't be resolved ({reason}); "
        "correct it, or see to it that the name server knows it"
    )


def _getaddrinfo(upstream: Upstream) -> Found:
    flags = 0 if has_name(upstream) else socket.AI_NUMERICHOST
    found = socket.getaddrinfo(upstream.host, upstream.port, type=socket.SOCK_STREAM, flags=flags)
    return cast("Found", found)


def _ask(
    upstreams: Sequence[Upstream], lookup: Callable[[Upstream], Found], patience: float
) -> list[Found | OSError | None]:
    """An answer for each; None is one that didn't come in time.

    ``getaddrinfo`` can't be interrupted, so it runs in threads that are left to themselves when the
    time is over: a pool's would be waited for at the exit.
    """
    unix: Found = [(UNIX[0], 0, 0, "", UNIX[1])]
    answers = [None if each.path is None else unix for each in upstreams]
    todo = deque(number for number, answer in enumerate(answers) if answer is None)
    return _collect(answers, todo, lambda number: lookup(upstreams[number]), patience)


def _collect(
    answers: Sequence[Found | None],
    todo: deque[int],
    ask: Callable[[int], Found],
    patience: float,
) -> list[Found | OSError | None]:
    collected: list[Found | OSError | None] = list(answers)
    missing = len(todo)
    done: SimpleQueue[tuple[int, Found | OSError]] = SimpleQueue()
    for _ in range(min(AT_ONCE, missing)):
        threading.Thread(target=_work, args=(todo, ask, done), daemon=True).start()
    deadline = monotonic() + patience
    with suppress(Empty):
        for _ in range(missing):
            number, answer = done.get(timeout=max(0.0, deadline - monotonic()))
            collected[number] = answer
    todo.clear()
    return collected


def _work(
    todo: deque[int],
    ask: Callable[[int], Found],
    done: SimpleQueue[tuple[int, Found | OSError]],
) -> None:
    with suppress(IndexError):  # nothing is left to do
        while True:
            number = todo.popleft()
            try:
                done.put((number, ask(number)))
            except OSError as error:
                done.put((number, error))
