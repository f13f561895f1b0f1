"""A server process is known by its log, and its whole family ends with it."""

from __future__ import annotations

import signal
import sys
from time import monotonic
from typing import TYPE_CHECKING

import pytest

from benchmarks.process import ProcessError, ServerProcess

if TYPE_CHECKING:
    from pathlib import Path


def _python(code: str, log: Path | None = None) -> ServerProcess:
    return ServerProcess([sys.executable, "-uc", code], log=log)


def test_waiting_for_a_line_returns_it_with_its_time(tmp_path: Path) -> None:
    before = monotonic()
    with _python("print('one'); print('port 17'); input()", log=tmp_path / "log") as process:
        line = process.wait_for_line(r"port \d+")
        assert line.text == "port 17"
        assert before <= line.at <= monotonic()
        assert process.wait(5) == 1  # input() met the end of its standard input
    assert (tmp_path / "log").read_text().startswith("one\nport 17\n")


def test_a_line_that_never_comes_is_an_error_with_the_log() -> None:
    with (
        _python("print('boom'); raise SystemExit(3)") as process,
        pytest.raises(ProcessError, match="its log ended") as error,
    ):
        process.wait_for_line("ready")
    assert "boom" in str(error.value)


def test_lines_before_after_do_not_count() -> None:
    with _python("print('ready'); print('x'); print('ready')") as process:
        assert [line.text for line in process.wait_for_lines("ready", 2)] == ["ready", "ready"]
        with pytest.raises(ProcessError):
            process.wait_for_line("x", after=2, deadline=5)


FORKS = """
import os, signal, sys
if os.fork() == 0:
    os.setsid()
    os.write(1, b"child %d\\n" % os.getpid())  # print() would be two writes, and could mix
    signal.pause()
os.write(1, b"up\\n")
signal.pause()
"""


def test_a_child_in_a_session_of_its_own_is_a_survivor_until_killed() -> None:
    with _python(FORKS) as process:
        child = int(process.wait_for_line(r"^child \d+").text.split()[1])
        process.wait_for_line("^up")
        assert process.family() == {process.pid, child}
        assert process.stop() == -signal.SIGTERM
        assert process.survivors(deadline=0.05) == {child}
    assert process.family() == set()


def test_a_process_that_ignores_term_misses_its_deadline() -> None:
    code = "import signal; signal.signal(15, signal.SIG_IGN); print('up'); signal.pause()"
    with _python(code) as process:
        process.wait_for_line("up")
        with pytest.raises(ProcessError, match="still runs"):
            process.stop(deadline=0.1)
    assert process.returncode == -signal.SIGKILL
