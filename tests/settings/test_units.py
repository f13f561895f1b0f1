"""Durations and sizes: what people write, and that what is shown can be read back."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from balancer.settings.units import (
    LONGEST,
    parse_duration,
    parse_size,
    show_duration,
    show_size,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("30", 30.0),
        ("0.5", 0.5),
        ("30s", 30.0),
        ("250ms", 0.25),
        ("7ms", 0.007),
        ("1.5h", 5400.0),
        ("1h30m", 5400.0),
        ("1d2h3m4s5ms", 93784.005),
        ("2m", 120.0),
        ("1m1ms", 60.001),
        ("007", 7.0),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    ["", " ", "s", "-1", "+1", "1 s", "1x", "1e3", "1_0", "30S", "1s1m", "1m1m", ".5", "5.", "inf",
     "nan", "٣", "1h ", "1ms1s", "1" * 13, "0x10"],
)  # fmt: skip
def test_no_durations(text: str) -> None:
    with pytest.raises(ValueError, match="not a duration; write 30, 30s, 250ms or 1h30m"):
        parse_duration(text)


def test_a_duration_has_an_end() -> None:
    assert parse_duration("36500d") == LONGEST
    with pytest.raises(ValueError, match="longer than a hundred years"):
        parse_duration("36501d")


@given(st.floats(0, LONGEST).map(lambda seconds: round(seconds, 9)))
@example(0.1)
@example(1e-9)
@example(59.999999999)
def test_a_shown_duration_reads_back(seconds: float) -> None:
    assert parse_duration(show_duration(seconds)) == seconds


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0s"), (0.1, "100ms"), (30.0, "30s"), (75.0, "1m15s"), (3600.0, "1h"), (1.5, "1.5s")],
)
def test_durations_are_shown_short(seconds: float, text: str) -> None:
    assert show_duration(seconds) == text


@given(st.text())
def test_parsers_raise_nothing_else(text: str) -> None:
    for parse in (parse_duration, parse_size):
        try:
            value = parse(text)
        except ValueError:
            continue
        assert value >= 0


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("8190", 8190),
        ("64KiB", 65536),
        ("64kib", 65536),
        ("64k", 65536),
        ("64 KiB", 65536),
        ("8MiB", 8 << 20),
        ("1G", 1 << 30),
        ("1kB", 1000),
        ("1MB", 1_000_000),
        ("10b", 10),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "k", "-1", "1.5k", "1TB", "1 k b", "٣", "1" * 19, "1e3"])
def test_no_sizes(text: str) -> None:
    with pytest.raises(ValueError, match="not a size; write 65536, 64KiB or 8MiB"):
        parse_size(text)


@given(st.integers(0, 10**18))
def test_a_shown_size_reads_back(size: int) -> None:
    assert parse_size(show_size(size)) == size
