"""The load tools: ab and wrk where installed, else our own generator.

Each returns a `LoadResult` of what the tool itself counted. ab and wrk are the yardsticks people
know; the own generator is slower at saturation and is there so that a machine without them still
gets a result that says which tool it came from.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from math import ceil
from pathlib import Path

from benchmarks.loadgen import Plan, run

_GRACE = 30.0  # seconds a tool may take beyond its duration
_POST = Path(__file__).with_name("post.lua")
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}  # wrk's: binary ones
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}  # wrk's
# Connections for requests with a megabyte or more: enough to keep every worker busy, few enough
# that one gets through in a fraction of a measurement.
_LARGE = 16


class LoadError(Exception):
    """A tool failed; the message is the end of its output."""


@dataclass(frozen=True, slots=True)
class LoadResult:
    """`per_second` and `completed` count complete responses, `errors` what the tool calls so.

    `received` counts the bytes that came, those of responses that the end cut included; ab does
    not tell. `p50` and `p99` are seconds under that load, where they were asked for.
    """

    tool: str
    per_second: float
    completed: int
    errors: int
    received: int = 0
    received_per_second: float = 0.0
    p50: float = 0.0
    p99: float = 0.0


def new_connections_ab(port: int, seconds: float) -> LoadResult:
    """`ab -c 50`: one connection per request, HTTP/1.0."""
    if shutil.which("ab") is None:
        return _own(port, seconds, 50, keep_alive=False)
    # -t alone implies -n 50000, so -n comes after it; -l: bodies may differ in length (pids).
    limits = ["-t", str(ceil(seconds)), "-n", "100000000"]
    return parse_ab(_run(["ab", "-q", "-l", *limits, "-c", "50", _url(port)], seconds))


def parse_ab(output: str) -> LoadResult:
    """ab's own account."""
    return LoadResult(
        "ab",
        _number(r"Requests per second:\s+([\d.]+)", output),
        int(_number(r"Complete requests:\s+(\d+)", output)),
        int(_number(r"Failed requests:\s+(\d+)", output)),
    )


def new_connections_wrk(port: int, seconds: float) -> LoadResult:
    """`wrk -t1 -c64 -H 'Connection: close'`: one connection per request, HTTP/1.1."""
    if shutil.which("wrk") is None:
        return _own(port, seconds, 64, keep_alive=False)
    return _wrk(["-H", "Connection: close"], port, seconds)


def keep_alive(port: int, seconds: float) -> LoadResult:
    """`wrk -t1 -c64`: 64 connections, request after request."""
    if shutil.which("wrk") is None:
        return _own(port, seconds, 64, keep_alive=True)
    return _wrk([], port, seconds)


def front_door(port: int, seconds: float, path: str = "/") -> LoadResult:
    """`wrk -t1 -c64 --latency`: the same, with the percentiles, of whatever page.

    A client waits for ten seconds, not for wrk's two: 64 long responses at once may take a slow
    server so long, and late is no error.
    """
    if shutil.which("wrk") is None:
        return _own(port, seconds, 64, path=path)
    return _wrk(["--latency", "--timeout", "10s"], port, seconds, path=path)


def post(port: int, seconds: float, size: int, path: str = "/sink") -> LoadResult:
    """`wrk -t1 -c16`: kept connections that POST `size` bytes with Content-Length."""
    if shutil.which("wrk") is None:
        return _own(port, seconds, _LARGE, path=path, body=size)
    script = ["-s", str(_POST)]
    return _wrk(script, port, seconds, path=path, concurrency=_LARGE, arguments=["--", str(size)])


def download(port: int, seconds: float, path: str = "/download") -> LoadResult:
    """`wrk -t1 -c16`: kept connections that read long responses; `received` is the figure."""
    if shutil.which("wrk") is None:
        return _own(port, seconds, _LARGE, path=path)
    return _wrk([], port, seconds, path=path, concurrency=_LARGE)


def _wrk(
    extra: list[str],
    port: int,
    seconds: float,
    *,
    path: str = "/",
    concurrency: int = 64,
    arguments: list[str] | None = None,
) -> LoadResult:
    how = ["-t1", f"-c{concurrency}", f"-d{ceil(seconds)}s", *extra]
    return parse_wrk(_run(["wrk", *how, _url(port, path), *(arguments or [])], seconds))


def parse_wrk(output: str) -> LoadResult:
    """wrk's own account. Connections that the server closed as asked are no errors to wrk."""
    errors = re.search(
        r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", output
    )
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", output)
    completed = int(_number(r"(\d+) requests in", output))
    return LoadResult(
        "wrk",
        _number(r"Requests/sec:\s+([\d.]+)", output),
        completed,
        sum(map(int, errors.groups() if errors else ())) + (int(bad[1]) if bad else 0),
        int(_size(r" ([\d.]+)([KMGT]?)B read", output)),
        _size(r"Transfer/sec:\s+([\d.]+)([KMGT]?)B", output),
        _percentile(50, output),
        _percentile(99, output),
    )


def _percentile(percent: int, output: str) -> float:
    """Of `--latency`; 0.0 where it was not given. wrk chooses the unit."""
    found = re.search(rf"^ +{percent}(?:\.0+)?% +([\d.]+)(us|ms|s|m|h) *$", output, re.MULTILINE)
    return float(found[1]) * _SECONDS[found[2]] if found else 0.0


def _own(
    port: int,
    seconds: float,
    concurrency: int,
    *,
    keep_alive: bool = True,
    path: str = "/",
    body: int = 0,
) -> LoadResult:
    plan = Plan(
        port=port,
        path=path,
        body=body,
        concurrency=concurrency,
        keep_alive=keep_alive,
        duration=seconds,
        keep_records=False,
    )
    report = run(plan)
    rate = report.received / report.seconds if report.seconds else 0.0
    return LoadResult(
        "own",
        report.per_second,
        report.ok,
        report.failed,
        report.received,
        rate,
        report.percentile(50),
        report.percentile(99),
    )


def _url(port: int, path: str = "/") -> str:
    return f"http://127.0.0.1:{port}{path}"


def _run(argv: list[str], seconds: float) -> str:
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, timeout=seconds + _GRACE, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise LoadError(f"{argv[0]} did not end {_GRACE:g} s after its duration") from error
    if done.returncode:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:]
        raise LoadError(f"{argv[0]} failed: {''.join(last)}")
    return done.stdout


def _number(pattern: str, output: str) -> float:
    return float(_find(pattern, output)[1])


def _size(pattern: str, output: str) -> float:
    match = _find(pattern, output)
    return float(match[1]) * _UNITS[match[2]]


def _find(pattern: str, output: str) -> re.Match[str]:
    match = re.search(pattern, output)
    if match is None:
        raise LoadError(f"no {pattern!r} in the tool's output: {output.strip()[-300:]!r}")
    return match
