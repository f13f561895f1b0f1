"""The command line: `python -m benchmarks handoff|keepalive|policies|simulate|…`."""

from __future__ import annotations

import argparse
import importlib
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import machine, summary
from benchmarks.clients import raise_fd_limit
from benchmarks.runner import Options, run
from benchmarks.suite import BENCHMARKS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.peers import Peer
    from benchmarks.suite import Entry


STUDIES = {
    "policies": "benchmarks.harness.policies",
    "peers": "benchmarks.harness.peers",
    "simulate": "benchmarks.simulate.command",
    "report": "benchmarks.report.command",
}
"""Commands with options of their own, by the module whose ``main(arguments)`` is theirs; it is
imported when it is asked for, since what draws is slow to load and not installed everywhere."""


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return number


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m benchmarks", description="balancer and its peers, alternating in one run"
    )
    parser.add_argument("benchmark", choices=[*BENCHMARKS, *STUDIES])
    parser.epilog = f"with options of their own (--help): {', '.join(STUDIES)}"
    parser.add_argument("--rounds", type=_positive, help="default: 5")
    parser.add_argument(
        "--duration", type=float, help="seconds per measurement (whole for ab, wrk); default: 3"
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="one round of a second, a tenth of the idle connections: to see that all of it runs",
    )
    parser.add_argument("--workers", type=_positive, default=2)
    parser.add_argument(
        "--rate",
        type=float,
        help="connections/s (proxy: requests/s) of the latency measurement; default: 500 (1000)",
    )
    parser.add_argument("--connections", type=_positive, help="of idle, at a time; default: 10000")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every sample there")
    parser.add_argument(
        "--only",
        action="append",
        metavar="NAME",
        help="measure only the peers whose name starts so (repeatable)",
    )
    parser.add_argument(
        "--versus",
        action="append",
        type=Path,
        default=[],
        metavar="PATH",
        help="another checkout of balancer as a peer (repeatable)",
    )
    parser.add_argument(
        "--serve-option",
        action="append",
        default=[],
        metavar="OPTION",
        help="added to balancer's command line, e.g. --serve-option=--window=2 (repeatable)",
    )
    return parser


def _options(parsed: argparse.Namespace, entry: Entry) -> Options:
    usual = Options(1, 1.0, connections=1000) if parsed.quick else Options()
    return Options(
        parsed.rounds or usual.rounds,
        parsed.duration or usual.duration,
        parsed.workers,
        parsed.rate or entry.rate,
        parsed.connections or usual.connections,
    )


def _peers(entry: Entry, options: argparse.Namespace) -> list[Peer]:
    peers = entry.peers(options.versus, options.serve_option)
    wanted = options.only
    return [p for p in peers if not wanted or any(p.name.startswith(name) for name in wanted)]


def _study(module: str, arguments: Sequence[str]) -> int:
    try:
        study = importlib.import_module(module)
    except ModuleNotFoundError as error:
        print(f"{error.name} is not installed: pip install -e '.[bench]'", file=sys.stderr)
        return 2
    return int(study.main(arguments))


def main(arguments: Sequence[str] | None = None) -> int:
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given and given[0] in STUDIES:
        return _study(STUDIES[given[0]], given[1:])
    parser = _parser()
    options = parser.parse_args(given)
    if options.benchmark in STUDIES:
        parser.error(f"{options.benchmark} has options of its own: its name comes first")
    entry = BENCHMARKS[options.benchmark]
    peers = _peers(entry, options)
    if not peers:
        parser.error(f"--only {' '.join(options.only)} leaves no peer")
    about = machine.describe()
    raise_fd_limit()
    results = run(entry.make(), peers, _options(options, entry), fresh=entry.fresh)
    print(summary.render(results, about, entry.view))
    if options.json:
        summary.write_json(options.json, results, about, entry.view)
    return 130 if results.interrupted else 0


if __name__ == "__main__":
    # Servers have sessions of their own: who ends this with TERM (`timeout`, CI) means them too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main())
