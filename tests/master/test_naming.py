"""What people call upstreams."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from balancer.errors import RunError
from balancer.master.naming import find_rows
from balancer.master.pools import Book, revise
from balancer.net.endpoints import EndpointTable
from balancer.settings import Settings
from balancer.settings.table import Service
from balancer.upstream.placement import UNIX, canonical

if TYPE_CHECKING:
    from balancer.net.endpoints import Address

SETTINGS = Settings(
    services=(
        Service("api", Settings(upstreams=("10.0.0.1:9000", "Web.example,weight=2"))),
        Service("img", Settings(upstreams=("https://10.0.0.1:9000", "unix:/Run/x", "[::1]:80"))),
    )
)


def v4(host: str, port: int) -> Address:
    return 2, (host, port)


ADDRESSES: dict[int, list[Address]] = {
    0: [v4("10.0.0.1", 9000)],
    1: [v4("10.0.1.1", 80), v4("10.0.1.2", 80)],
    2: [v4("10.0.0.1", 9000)],
    3: [UNIX],
    4: [canonical((10, ("::1", 80, 0, 0)))],
    9: [v4("10.0.9.9", 80)],  # of a list of before
}


def find(text: str) -> list[tuple[int, str]]:
    book = revise(Book(), SETTINGS)
    table = EndpointTable.create(rows=1)
    try:
        for number, addresses in ADDRESSES.items():
            for address in addresses:
                table.place(number, address, weight=1, now=0.0)
        return [
            (row.upstream, shown)
            for row, shown in find_rows(book, table.heads.states(), text, "drain")
        ]
    finally:
        table.close()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("http://10.0.0.1:9000", [(0, "api/http://10.0.0.1:9000")]),
        ("https://10.0.0.1:9000", [(2, "img/https://10.0.0.1:9000")]),
        (
            "10.0.0.1:9000",
            [(0, "api/http://10.0.0.1:9000"), (2, "img/https://10.0.0.1:9000")],
        ),
        ("img/10.0.0.1:9000", [(2, "img/https://10.0.0.1:9000")]),
        ("api/http://10.0.0.1:9000/", [(0, "api/http://10.0.0.1:9000")]),
        (
            "web.example:80",
            [
                (1, "api/http://Web.example:80 (10.0.1.1:80)"),
                (1, "api/http://Web.example:80 (10.0.1.2:80)"),
            ],
        ),
        ("10.0.1.2:80", [(1, "api/http://Web.example:80 (10.0.1.2:80)")]),
        ("unix:/Run/x", [(3, "img/unix:/Run/x")]),
        ("[::1]:80", [(4, "img/http://[::1]:80")]),
    ],
)
def test_names(text: str, found: list[tuple[int, str]]) -> None:
    assert find(text) == found


@pytest.mark.parametrize("text", ["", "10.0.0.1", "img/web.example:80", "10.0.9.9:80", "api/"])
def test_unknown_names(text: str) -> None:
    with pytest.raises(RunError) as raised:
        find(text)
    assert str(raised.value) == (
        f"drain {text}: there is no such upstream (there are: api/http://10.0.0.1:9000, "
        "api/http://Web.example:80, img/https://10.0.0.1:9000, img/unix:/Run/x, "
        "img/http://[::1]:80)"
    )
