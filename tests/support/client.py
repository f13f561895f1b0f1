"""The accounting client in the background: in a thread, or in a process of its own.

The engine is `benchmarks.loadgen`; here is what a test needs around it: start it, do something
cruel to the server, stop it, read the account.

    with InThread(Plan(port=server.port, rate=1000, duration=30)) as load:
        load.wait_for_attempts(500)
        server.kill(2, signal.SIGKILL)
    report = load.report
    assert report.failed == 0, report.summary()

`python -m tests.support.client PORT --rate 1000 --duration 5` does the same from a shell (TERM or
INT end it early) and prints the account as JSON.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import threading
from collections import Counter
from dataclasses import asdict, fields
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, Self

from benchmarks.loadgen import Load, Outcome, Plan, Record, Report, run

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

__all__ = ["InProcess", "InThread", "Outcome", "Plan", "Record", "Report", "run"]


class InThread:
    """A plan running in a thread of this process; leaving the context stops it and waits.

    `report` is live while it runs (counts only grow) and final after `stop()`. An exception of
    the load is raised by `stop()`, and by leaving the context unless another one is under way.
    """

    def __init__(self, plan: Plan) -> None:
        self._load = Load(plan)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)

    @property
    def report(self) -> Report:
        return self._load.report

    def _run(self) -> None:
        try:
            self._load.run()
        except Exception as error:  # noqa: BLE001 - carried to the thread that asks for the result
            self._error = error

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self._load.stop()
        self._join()
        if error is None:
            self._raise()

    def stop(self) -> Report:
        """Start nothing more, wait for what is under way, return the account."""
        self._load.stop()
        self._join()
        self._raise()
        return self.report

    def wait(self) -> Report:
        """Let the plan run to its own end, return the account."""
        self._thread.join()
        self._raise()
        return self.report

    def wait_for_attempts(self, count: int, *, deadline: float = 10.0) -> None:
        """Return once `count` attempts have ended, whatever their outcome."""
        until = monotonic() + deadline
        while self.report.outcomes.total() < count:
            if monotonic() > until or not self._thread.is_alive():
                self._raise()
                raise AssertionError(f"no {count} attempts: {self.report.summary()}")
            sleep(0.002)

    def _join(self) -> None:
        limit = self._load.plan.timeout + 5
        self._thread.join(limit)
        if self._thread.is_alive():
            raise AssertionError(f"the load did not end within {limit} s")

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error


class InProcess:
    """The same in a process of its own: no GIL is shared, but the report comes at the end."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._report: Report | None = None
        self._process: subprocess.Popen[str] | None = None

    @property
    def report(self) -> Report:
        """The account; only after `stop()`, `wait()` or the end of the context."""
        if self._report is None:
            raise AssertionError("the load has not ended yet")
        return self._report

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "tests.support.client",
                "--plan",
                json.dumps(asdict(self._plan)),
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self._process.stdout.readline()  # "running": from here on TERM is a request to stop
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        if self._report is None:
            self.stop()

    def stop(self) -> Report:
        """Start nothing more, wait for what is under way, return the account."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self.wait()

    def wait(self) -> Report:
        """Let the plan run to its own end, return the account."""
        assert self._process is not None
        limit = self._plan.duration + self._plan.timeout + 15
        try:
            output, _ = self._process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
            raise
        if self._process.returncode:
            raise AssertionError(f"the load failed with exit code {self._process.returncode}")
        self._report = _report_from(json.loads(output))
        return self._report


def _report_from(form: dict[str, Any]) -> Report:
    names = {field.name for field in fields(Report)}
    plain: dict[str, Any] = {name: value for name, value in form.items() if name in names}
    plain["outcomes"] = Counter(form["outcomes"])
    plain["by_worker"] = Counter({int(name): n for name, n in form["by_worker"].items()})
    for name in ("records", "failures"):
        plain[name] = [Record(**record) for record in form.get(name, [])]
    return Report(**plain)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m tests.support.client", description=__doc__)
    parser.add_argument("port", type=int, nargs="?")
    parser.add_argument("--plan", type=json.loads, help="the whole plan as JSON")
    parser.add_argument("--path", default="/")
    parser.add_argument("--rate", type=float, default=0.0, help="open loop: connections/s")
    parser.add_argument("--concurrency", type=int, default=8)
    parser.add_argument("--keep-alive", action="store_true")
    parser.add_argument("--pause", type=float, default=0.0, help="mean pause on a kept connection")
    parser.add_argument("--count", type=int, default=0)
    parser.add_argument("--duration", type=float, default=0.0)
    parser.add_argument("--timeout", type=float, default=10.0)
    parser.add_argument("--records", action="store_true", help="print every attempt")
    options = parser.parse_args(arguments)
    if options.plan is None and options.port is None:
        parser.error("a PORT is needed")
    if options.plan is None and not (options.count or options.duration):
        parser.error("a --count or a --duration is needed")
    return options


def _plan(options: argparse.Namespace) -> Plan:
    if options.plan is not None:
        return Plan(**options.plan)
    names = {field.name for field in fields(Plan)}
    return Plan(**{name: value for name, value in vars(options).items() if name in names})


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parse(arguments)
    load = Load(_plan(options))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: load.stop())
    if options.plan is not None:
        print("running", flush=True)
    report = load.run()
    print(json.dumps(report.as_dict(records=options.plan is not None or options.records)))
    if options.plan is None:
        print(report.summary(), file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
