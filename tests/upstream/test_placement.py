"""Which addresses upstreams have, and which rows they get."""

from __future__ import annotations

import socket
import threading
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.errors import UsageError
from balancer.net.endpoints import Address, EndpointTable
from balancer.settings.upstream import Upstream, parse_upstream
from balancer.upstream.placement import (
    canonical,
    has_name,
    place_all,
    reconcile,
    resolve,
    shared,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

WHERE = "UPSTREAM"

v4 = st.integers(0, 12).map(lambda last: (int(socket.AF_INET), (f"10.0.0.{last}", 80)))
v6 = st.integers(0, 3).map(
    lambda last: (int(socket.AF_INET6), (f"fe80::{last + 1:x}", 80, 0, last))
)
addresses: st.SearchStrategy[list[Address]] = st.lists(v4 | v6)


def parse(*texts: str) -> list[Upstream]:
    return [parse_upstream(text) for text in texts]


def asked(*texts: str) -> list[tuple[Upstream, str]]:
    return [(each, WHERE) for each in parse(*texts)]


def four(*hosts: str, port: int = 80) -> list[Any]:
    return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port)) for host in hosts]


@contextmanager
def new_table() -> Iterator[EndpointTable]:
    with closing(EndpointTable.create(rows=4)) as table:
        yield table


def apply(rows: dict[int, Address], added: tuple[Address, ...], removed: tuple[int, ...]) -> None:
    for address in added:
        rows[max(rows, default=-1) + 1] = address
    for index in removed:
        del rows[index]


@given(st.lists(addresses, min_size=1), addresses)
def test_rows_become_those_of_the_addresses(
    answers: list[list[Address]], taken: list[Address]
) -> None:
    rows: dict[int, Address] = {}
    for now in answers:
        before = dict(rows)
        change = reconcile(rows, now, taken)
        apply(rows, *change)
        assert len(set(rows.values())) == len(rows)
        assert set(rows.values()) == set(now) - set(taken)
        stayed = {index: each for index, each in before.items() if each in rows.values()}
        assert stayed.items() <= rows.items(), "an address that stays keeps its row"
        assert reconcile(rows, now, taken) == ((), ())


@given(addresses, addresses)
def test_what_is_shared_is_what_isnt_given(now: list[Address], others: list[Address]) -> None:
    added = reconcile({}, now, others).added
    assert set(shared(others, now)) | set(added) == set(now)
    assert not set(shared(others, now)) & set(added)


@given(v4 | v6)
def test_an_address_has_one_spelling(address: Address) -> None:
    assert canonical(canonical(address)) == canonical(address) == address


def test_other_spellings_are_the_same_address() -> None:
    assert canonical((socket.AF_INET6, ("FE80:0::1", 80, 7, 2))) == (10, ("fe80::1", 80, 0, 2))


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("127.0.0.1:80", False),
        ("[::1]:80", False),
        ("unix:/a.sock", False),
        ("localhost:80", True),
        ("https://api.example", True),
        ("api.example.:80", True),
        ("a1:80", True),
    ],
)
def test_what_is_a_name(text: str, name: bool) -> None:
    assert has_name(parse_upstream(text)) is name


def test_addresses_and_sockets_need_nobody_to_be_asked() -> None:
    found = resolve(asked("127.0.0.1:90", "https://[::1]", "unix:/tmp/a", "unix:/tmp/b"))
    assert found == [
        ((2, ("127.0.0.1", 90)),),
        ((10, ("::1", 443, 0, 0)),),
        ((1, ""),),
        ((1, ""),),
    ]


def test_localhost_is_found() -> None:
    (found,) = resolve(asked("localhost:90"))
    assert (2, ("127.0.0.1", 90)) in found


def test_a_name_may_have_several_addresses() -> None:
    six = (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::2", 80, 0, 0))
    found = resolve(asked("a:80", "b:80"), lookup=lambda _: [*four("10.0.0.1", "10.0.0.1"), six])
    assert found == [((2, ("10.0.0.1", 80)), (10, ("::2", 80, 0, 0)))] * 2


def fail(upstream: Upstream) -> list[Any]:
    if upstream.host == "bad":
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    return four("10.0.0.1")


def test_a_name_without_address_stops_the_start() -> None:
    with pytest.raises(UsageError) as raised:
        resolve(asked("good:80", "http://bad:81,weight=2"), lookup=fail)
    assert str(raised.value) == (
        "UPSTREAM http://bad:81,weight=2: the name bad can't be resolved (Name or service not "
        "known); correct it, or see to it that the name server knows it"
    )


def test_an_empty_answer_is_none() -> None:
    with pytest.raises(UsageError, match=r"UPSTREAM a:80: the name a can't .* \(no address\)"):
        resolve(asked("a:80"), lookup=lambda _: [])


def test_an_interface_must_exist() -> None:
    with pytest.raises(UsageError, match=r"UPSTREAM \[fe80::1%nowhere\]:80: can't be connected"):
        resolve(asked("[fe80::1%nowhere]:80"))


def test_who_is_silent_is_not_waited_for() -> None:
    late = threading.Event()

    def lookup(upstream: Upstream) -> list[Any]:
        if upstream.host != "quick":
            late.wait(20)
        return four("10.0.0.1")

    names = [f"slow{number}:80" for number in range(40)]
    with pytest.raises(UsageError, match=r"UPSTREAM slow0:80: .*\(no answer in time\)"):
        resolve(asked("quick:80", *names), patience=0.05, lookup=lookup)
    late.set()


def test_names_are_asked_for_side_by_side() -> None:
    together = threading.Barrier(8, timeout=10)

    def lookup(_: Upstream) -> list[Any]:
        together.wait()
        return four("10.0.0.1")

    assert len(resolve(asked(*(f"n{n}:80" for n in range(8))), lookup=lookup)) == 8


def test_the_table_is_filled_in_order() -> None:
    upstreams = parse("a:80,weight=3", "unix:/x", "b:80", "unix:/y")
    one, two = (2, ("10.0.0.1", 80)), (2, ("10.0.0.2", 80))
    with new_table() as table:
        warnings = place_all(
            table,
            dict(enumerate(upstreams)),
            dict(enumerate([(one, two), ((1, ""),), (two,), ((1, ""),)])),
        )
        rows = table.heads.states()
        assert [(row.upstream, row.address, row.weight) for row in rows] == [
            (0, one, 3),
            (0, two, 3),
            (1, (1, ""), 1),
            (3, (1, ""), 1),
        ]
    (warning,) = warnings
    assert warning == (
        "upstream http://b:80: 10.0.0.2:80 is an address of http://a:80, too, and counts as that "
        "one's"
    )
