"""What is passed on of a stream, and what is remembered of it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from balancer.core.tail import LINES, LONGEST, SIZE, Tail, last_lines, telling


@given(st.lists(st.binary(max_size=2 * LONGEST) | st.text("ab\n").map(str.encode)))
def test_nothing_is_lost_and_lines_stay_whole(chunks: list[bytes]) -> None:
    tail, passed_on = Tail(), b""
    for chunk in chunks:
        piece = tail.feed(chunk)
        assert not piece or piece.endswith(b"\n") or len(piece) >= LONGEST
        passed_on += piece
    whole = b"".join(chunks)
    assert whole.startswith(passed_on)
    assert len(whole) - len(passed_on) < LONGEST
    last = tail.finish()
    assert passed_on + last == whole + (b"\n" if last else b"")


@given(st.text())
def test_a_report_is_short_and_fit_to_be_shown(text: str) -> None:
    report = last_lines(text)
    assert len(report.splitlines()) <= LINES
    assert len(report) <= SIZE
    assert "\x1b" not in report
    assert "\0" not in report


def test_the_last_lines() -> None:
    tail = Tail()
    for number in range(10_000):
        tail.feed(b"\x1b[1mline\x1b[0m %d\n" % number)
    assert tail.text.splitlines() == [f"line {number}" for number in range(9980, 10_000)]
    assert telling(tail.text) == "line 9999"


def test_the_beginning_of_a_dump() -> None:
    tail = Tail()
    tail.feed(b"noise\n" * 100 + b"malloc(): corrupted top size\nFatal Python error: Aborted\n\n")
    tail.feed(b"Current thread 0x1 (most recent call first):\n" + b"  File ...\n" * 100)
    lines = tail.text.splitlines()
    assert lines[4:8] == [
        "malloc(): corrupted top size",
        "Fatal Python error: Aborted",
        "",
        "Current thread 0x1 (most recent call first):",
    ]
    assert len(lines) == LINES
    assert telling(tail.text) == "Fatal Python error: Aborted"


def test_nothing_was_said() -> None:
    assert Tail().text == ""
    assert telling("\n \n") == ""
