"""``python -m tests.fuzz --cases 1000000 --seed 1``: the long run, and its figures."""

from __future__ import annotations

import sys
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from functools import partial
from time import perf_counter

import click
import trio

from tests.fuzz.campaign import Campaign, Figures, make_case
from tests.fuzz.llhttp import NODE, Llhttp
from tests.fuzz.shrink import shrink

SHARE = 10_000
"""Cases that a process takes at a time."""
SHOWN = 10


def _run(seed: int, first: int, last: int) -> Figures:
    with ExitStack() as stack:
        llhttp = stack.enter_context(Llhttp()) if NODE else None
        campaign = Campaign(seed, llhttp)
        trio.run(campaign.run, range(first, last))
    return campaign.figures


@click.command()
@click.option("--cases", default=1_000_000, help="How many.")
@click.option("--seed", default=1, help="Of the campaign; the same seed makes the same cases.")
@click.option("--first", default=0, help="The number of the first case.")
@click.option("--processes", default=2, help="How many run at a time.")
def main(cases: int, seed: int, first: int, processes: int) -> None:
    """Run mutated streams through the proxy and print what came of them."""
    if not NODE:
        print("node is not installed: llhttp is not asked")
    began = perf_counter()
    total = Figures()
    edges = [*range(first, first + cases, SHARE), first + cases]
    with ProcessPoolExecutor(processes) as pool:
        for figures in pool.map(partial(_run, seed), edges[:-1], edges[1:]):
            total.add(figures)
            for failed in figures.failed:
                print(f"case {failed.number}: {failed.reason[:1000]}", flush=True)
            done = total.counts["cases"]
            print(f"\r{done} cases, {len(total.failed)} failed", end="", file=sys.stderr)
    took = perf_counter() - began
    print(file=sys.stderr)
    print(f"seed {seed}: {cases / took:.0f} cases/s with {processes} processes, {took:.0f} s")
    for name, count in sorted(total.counts.items()):
        print(f"{count:12d}  {name}")
    print(f"{len(total.failed):12d}  disagreements and failures")
    for failed in total.failed[:SHOWN]:
        print(f"\ncase {failed.number}, smallest found: {shrink(make_case(seed, failed.number))!r}")
    sys.exit(bool(total.failed))


if __name__ == "__main__":
    main()
