"""The smallest forms of what the fuzz has found, as ``python -m tests.fuzz`` prints them."""

from __future__ import annotations

import pytest
import trio

from tests.fuzz.bench import Bench, Habit, Script
from tests.fuzz.campaign import Case, llhttp_objects, run_case
from tests.fuzz.llhttp import NODE, Llhttp

TWO = (
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /second HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
)
OFFER = TWO.replace(b"Host: a", b"Host: a\r\nConnection: upgrade\r\nUpgrade: x", 1)
CHUNKS = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
CASES = {
    "Content-Length in trailers": Case((CHUNKS + b"0\r\nContent-Length: 5\r\n\r\n",)),
    "Host in trailers": Case((CHUNKS + b"0\r\nHost: evil\r\n\r\n",)),
    "an alias in trailers": Case((CHUNKS + b"0\r\nX_Forwarded_For: 6.6.6.6\r\n\r\n",)),
    "an answer inside of a body": Case(
        (
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc",
            b"defghij" + TWO,
        ),
        Habit.EARLY,
    ),
    "HTTP/1.2 without a Host": Case((b"HEAD /a HTTP/1.2\r\nX: 1\r\n\r\n",)),
    "a break behind a 1xx": Case((TWO,), script=Script((b"HTTP/1.1 103 E\r\n\r\n",), ends=True)),
    "101 of HTTP/1.0": Case(
        (OFFER,), script=Script((b"HTTP/1.0 101 S\r\nUpgrade: x\r\n\r\nz",), ends=True)
    ),
    "101 without Upgrade": Case(
        (OFFER,), script=Script((b"HTTP/1.1 101 S\r\n\r\nz",), ends=True)
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_what_was_found_stays_mended(case: Case) -> None:
    with Bench() as bench:
        outcome, wrong = trio.run(run_case, bench, case)
    assert not wrong
    if NODE is not None and case.script is None:
        with Llhttp() as llhttp:
            assert not [each for up in outcome.upstreams if (each := llhttp_objects(llhttp, up))]
