"""What people call an upstream, and which endpoints they mean.

A name as ``balancer status`` shows it, with its scheme or without, means the server, in every pool
that it stands in; so does each of the addresses of a name mean that one.  With a pool in front,
``api/10.0.0.1:9000``, it is only the one in that pool.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from balancer.errors import RunError
from balancer.net.endpoints.address import show_address

if TYPE_CHECKING:
    from collections.abc import Iterable

    from balancer.master.pools import Book, Pool
    from balancer.net.endpoints import EndpointRow
    from balancer.settings import Upstream

__all__ = ["find_rows", "name_of"]


def find_rows(
    book: Book, rows: Iterable[EndpointRow], text: str, what: str
) -> list[tuple[EndpointRow, str]]:
    """The endpoints that are called so, each with its full name.

    Args:
        book: The upstreams.
        rows: All endpoints.
        text: What somebody called it.
        what: What was asked for, for the sentence.

    Raises:
        RunError: there is none; the text names those that there are.
    """
    wanted = text.lower().removesuffix("/")
    rows = list(rows)
    found, names = [], []
    for pool in book.pools:
        for number, upstream in pool.upstreams.items():
            names.append(f"{pool.prefix}{upstream}")
            found += [
                (row, name_of(pool, upstream, row))
                for row in rows
                if row.upstream == number and wanted in _spellings(pool, upstream, row)
            ]
    if not found:
        there = ", ".join(names) or "none"
        raise RunError(f"{what} {text}: there is no such upstream (there are: {there})")
    return found


def name_of(pool: Pool, upstream: Upstream, row: EndpointRow) -> str:
    """An endpoint, for the log."""
    address = show_address(row.address)
    if not address or str(upstream).endswith(f"//{address}"):
        return f"{pool.prefix}{upstream}"
    return f"{pool.prefix}{upstream} ({address})"


def _spellings(pool: Pool, upstream: Upstream, row: EndpointRow) -> set[str]:
    whole = str(upstream)
    plain = {whole, whole.partition("://")[2], show_address(row.address)} - {""}
    return {text.lower() for each in plain for text in (each, f"{pool.name}/{each}")}
