"""Many cases in a row: their making, their verdicts and their figures."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import zip_longest
from random import Random
from typing import TYPE_CHECKING, final

from tests.fuzz import grammar, replies
from tests.fuzz.bench import Bench, Habit, Script
from tests.fuzz.judge import judge_reply, judge_requests, messages, status_counts
from tests.fuzz.llhttp import as_known, with_known_methods
from tests.fuzz.mutate import cut, spoil, spoil_reply

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.fuzz.bench import Outcome, Upstream
    from tests.fuzz.judge import Message
    from tests.fuzz.llhttp import Llhttp, Verdict

__all__ = ["Campaign", "Case", "Failed", "Figures", "llhttp_objects", "make_case", "run_case"]

BATCH = 500
REPLIES = 0.25
"""The share of cases in which it is the upstream that errs."""


@final
@dataclass(frozen=True, slots=True)
class Case:
    """Everything that decides what happens; ``script`` is None where the client errs."""

    client: tuple[bytes, ...]
    habit: Habit = Habit.KEEP
    trusted: bool = False
    script: Script | None = None

    def question(self) -> tuple[bytes, bytes, bool]:
        """Method and version of the first request, and whether it offers an upgrade."""
        head = b"".join(self.client)
        line = head.partition(b"\r\n")[0]
        return line.split(b" ")[0], line[-8:], b"Upgrade:" in head


@final
@dataclass(frozen=True, slots=True)
class Failed:
    """A case that went wrong."""

    number: int
    case: Case
    reason: str


@final
@dataclass(slots=True)
class Figures:
    """What a campaign has seen; sums of several make sense."""

    counts: Counter[str] = field(default_factory=Counter)
    failed: list[Failed] = field(default_factory=list)

    def add(self, other: Figures) -> None:
        """Both together."""
        self.counts += other.counts
        self.failed += other.failed


def make_case(seed: int, number: int) -> Case:
    """The case with this number of the campaign with this seed; always the same."""
    random = Random((seed << 40) + number)
    if random.random() < REPLIES:
        method, _, upgrade, stream = replies.question(random)
        tokens, ends = replies.reply(random, method, upgrade=upgrade)
        script = Script(tuple(cut(random, spoil_reply(random, tokens))), ends)
        return Case((stream,), script=script)
    stream = spoil(random, grammar.requests(random))
    habit = Habit.KEEP if random.random() < 0.8 else random.choice(list(Habit))
    return Case(tuple(cut(random, stream)), habit, random.random() < 0.3)


async def run_case(bench: Bench, case: Case) -> tuple[Outcome, list[str]]:
    """What came of a case, and what is wrong with that, llhttp not asked."""
    outcome = await bench.run(
        case.client, habit=case.habit, script=case.script, trusted=case.trusted
    )
    if case.script is None:
        return outcome, list(judge_requests(b"".join(case.client), outcome))
    if not outcome.upstreams:
        return outcome, ["the request was not passed on"]
    method, version, upgrade = case.question()
    return outcome, list(judge_reply(method, version, case.script, outcome, upgrade=upgrade))


@final
class Campaign:
    """Runs cases by their numbers; ``llhttp`` is asked about everything that reached upstreams."""

    def __init__(self, seed: int, llhttp: Llhttp | None) -> None:
        self.figures = Figures()
        self._seed = seed
        self._llhttp = llhttp
        self._waiting: list[tuple[int, Case, Upstream]] = []
        self._asked: list[tuple[int, Case, Upstream]] = []

    async def run(self, numbers: Iterable[int]) -> None:
        """Run these cases, and wait for all verdicts."""
        with Bench() as bench:
            for number in numbers:
                case = make_case(self._seed, number)
                outcome, wrong = await run_case(bench, case)
                self._count(case, outcome)
                if wrong:
                    self.figures.failed.append(Failed(number, case, wrong[0]))
                if case.script is None:
                    self._waiting += [(number, case, each) for each in outcome.upstreams]
                if len(self._waiting) >= BATCH:
                    self._hear_llhttp()
                    self._ask_llhttp()
        self._hear_llhttp()
        self._ask_llhttp()
        self._hear_llhttp()

    def _count(self, case: Case, outcome: Outcome) -> None:
        counts = self.figures.counts
        counts["cases"] += 1
        kind = "requests" if case.script is None else "replies"
        counts[f"cases of {kind}"] += 1
        counts["client connections reset"] += outcome.aborted
        for status in status_counts(outcome.heard):
            counts[f"{kind}: status {status}"] += 1
        if case.script is None:
            counts["streams of which something was passed on"] += bool(outcome.upstreams)
            counts["upstream bytes"] += sum(
                len(piece) for each in outcome.upstreams for piece in each.pieces
            )
        elif outcome.upstreams[:1] and outcome.upstreams[0].answered > 1:
            counts["replies: connection used again"] += 1

    def _ask_llhttp(self) -> None:
        self._asked, self._waiting = self._waiting, []
        if self._llhttp is not None:
            self._llhttp.ask([with_known_methods(up.pieces, up.starts) for _, _, up in self._asked])

    def _hear_llhttp(self) -> None:
        asked, self._asked = self._asked, []
        if self._llhttp is None:
            return
        for (number, case, upstream), verdict in zip(
            asked, self._llhttp.answers(len(asked)), strict=True
        ):
            self.figures.counts["messages read alike by oracle, h11 and llhttp"] += len(verdict[0])
            if reason := _objection(upstream, verdict):
                self.figures.failed.append(Failed(number, case, reason))


def llhttp_objects(llhttp: Llhttp, upstream: Upstream) -> str:
    """What llhttp reads differently; "": nothing."""
    llhttp.ask([with_known_methods(upstream.pieces, upstream.starts)])
    return _objection(upstream, llhttp.answers(1)[0])


def _objection(upstream: Upstream, verdict: Verdict) -> str:
    found, error = verdict
    expected = _as_shown(messages(upstream.requests))
    for theirs, ours in zip_longest(found, expected):
        if theirs != ours:
            return f"llhttp reads {theirs!r} {error} where the oracle reads {ours!r}"
    return error


def _as_shown(said: list[Message]) -> list[Message]:
    return [(as_known(method), *rest) for method, *rest in said]  # type: ignore[misc]
