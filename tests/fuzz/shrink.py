"""The smallest case that still fails: what a regression test wants."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

import trio

from tests.fuzz.bench import Bench, Script
from tests.fuzz.campaign import Case, llhttp_objects, run_case
from tests.fuzz.llhttp import NODE, Llhttp

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["shrink"]


def shrink(case: Case) -> Case:
    """Take bytes away while something is wrong; pieces are joined where that doesn't matter."""
    with ExitStack() as stack:
        llhttp = stack.enter_context(Llhttp()) if NODE else None
        bench = stack.enter_context(Bench())

        def fails(each: Case) -> bool:
            outcome, wrong = trio.run(run_case, bench, each)
            if each.script is not None or llhttp is None:
                return bool(wrong)
            return bool(wrong) or any(llhttp_objects(llhttp, up) for up in outcome.upstreams)

        if not fails(case):
            return case  # it depends on the order in which tasks ran
        if case.script is not None:
            ends, before = case.script.ends, case.script.pieces

            def make(pieces: tuple[bytes, ...]) -> Case:
                return replace(case, script=Script(pieces, ends))
        else:
            before = case.client

            def make(pieces: tuple[bytes, ...]) -> Case:
                return replace(case, client=pieces)

        if fails(make((b"".join(before),))):
            before = (b"".join(before),)
        return make(_smaller(before, lambda pieces: fails(make(pieces))))


def _smaller(
    pieces: tuple[bytes, ...], fails: Callable[[tuple[bytes, ...]], bool]
) -> tuple[bytes, ...]:
    size = max(1, sum(map(len, pieces)) // 2)
    while size:
        for index in range(len(pieces)):
            at = 0
            while at < len(pieces[index]):
                piece = pieces[index]
                shorter = piece[:at] + piece[at + size :]
                candidate = (*pieces[:index], shorter, *pieces[index + 1 :])
                if shorter and fails(candidate):
                    pieces = candidate
                else:
                    at += size
        size //= 2
    return pieces
