"""The short fuzz; ``python -m tests.fuzz`` is the long one."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz import grammar, replies
from tests.fuzz.bench import Bench, Script
from tests.fuzz.campaign import Campaign, Case, run_case
from tests.fuzz.judge import judge_reply, judge_requests, status_counts
from tests.fuzz.llhttp import NODE, Llhttp
from tests.fuzz.mutate import BYTES
from tests.fuzz.oracle import read_requests

SEED = 20261124
LOCALLY_ANSWERED = {b"TRACE"}
needs_node = pytest.mark.skipif(NODE is None, reason="node is not on PATH: llhttp can't be asked")


async def test_mutated_streams() -> None:
    campaign = Campaign(SEED, None)
    await campaign.run(range(12_000))
    assert campaign.figures.counts["cases"] == 12_000
    assert not campaign.figures.failed[:3]


@pytest.mark.node
@needs_node
async def test_llhttp_reads_the_same() -> None:
    with Llhttp() as llhttp:
        campaign = Campaign(SEED, llhttp)
        await campaign.run(range(12_000, 17_000))
    assert campaign.figures.counts["messages read alike by oracle, h11 and llhttp"] > 1000
    assert not campaign.figures.failed[:3]


async def test_valid_requests_are_passed_on() -> None:
    """A proxy that refuses everything would pass the other tests."""
    with Bench() as bench:
        for number in range(1500):
            stream = b"".join(grammar.requests(Random(number)))
            outcome = await bench.run([stream])
            assert not list(judge_requests(stream, outcome))
            expected = 0
            for asked in read_requests(stream):
                if asked.method in LOCALLY_ANSWERED:
                    break
                expected += 1
                if not _keeps(asked.minor, asked.fields):
                    break
            assert status_counts(outcome.heard).count(200) == expected, stream


def _keeps(minor: int, fields: list[tuple[bytes, bytes]]) -> bool:
    options = [value.lower() for name, value in fields if name == b"connection"]
    return b"close" not in options and (bool(minor) or b"keep-alive" in options)


async def test_valid_answers_are_passed_on() -> None:
    with Bench() as bench:
        for number in range(1500):
            random = Random(number)
            method, version, upgrade, stream = replies.question(random)
            tokens, ends = replies.reply(random, method, upgrade=upgrade)
            script = Script((b"".join(tokens),), ends)
            outcome = await bench.run([stream], script=script)
            assert not list(judge_reply(method, version, script, outcome, upgrade=upgrade))
            if upgrade or b" 101 " not in script.pieces[0]:
                assert not {502, 504} & set(status_counts(outcome.heard)), script


edits = st.lists(
    st.tuples(
        st.floats(0, 1, exclude_max=True),
        st.integers(0, 3),
        st.sampled_from(BYTES) | st.binary(max_size=4),
    ),
    max_size=5,
)
cuts = st.lists(st.floats(0, 1, exclude_max=True), max_size=3)


def _edited(stream: bytes, changes: list[tuple[float, int, bytes]]) -> bytes:
    for place, gone, new in changes:
        at = int(place * len(stream))
        stream = stream[:at] + new + stream[at + gone :]
    return stream


def _cut(stream: bytes, places: list[float]) -> tuple[bytes, ...]:
    edges = [0, *sorted(int(place * len(stream)) for place in places), len(stream)]
    return tuple(stream[a:b] for a, b in pairwise(edges))


@given(st.integers(0, 2**32), edits, cuts, st.booleans())
def test_edited_requests(
    seed: int, changes: list[tuple[float, int, bytes]], places: list[float], trusted: bool
) -> None:
    stream = _edited(b"".join(grammar.requests(Random(seed))), changes)
    with Bench() as bench:
        _, wrong = trio.run(run_case, bench, Case(_cut(stream, places), trusted=trusted))
    assert not wrong


@given(st.integers(0, 2**32), edits, cuts)
def test_edited_answers(
    seed: int, changes: list[tuple[float, int, bytes]], places: list[float]
) -> None:
    random = Random(seed)
    method, _, upgrade, stream = replies.question(random)
    tokens, ends = replies.reply(random, method, upgrade=upgrade)
    script = Script(_cut(_edited(b"".join(tokens), changes), places), ends)
    with Bench() as bench:
        _, wrong = trio.run(run_case, bench, Case((stream,), script=script))
    assert not wrong
