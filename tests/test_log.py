"""The log's line, and that nothing on the other side of stderr can hold us up."""

from __future__ import annotations

import contextlib
import fcntl
import io
import logging
import os
import re
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from balancer import log
from balancer.log import LineHandler, configure

if TYPE_CHECKING:
    from collections.abc import Iterator

LINE = r"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{4}\] \[%d\] \[%s\] %s\n"


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    """The logger that ``configure`` changes, put back afterwards."""
    made = logging.getLogger("balancer")
    before = (made.level, made.propagate, made.handlers[:])
    yield made
    for handler in made.handlers[:]:
        made.removeHandler(handler)
        handler.close()
    made.setLevel(before[0])
    made.propagate, made.handlers[:] = before[1], before[2]


def run(script: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", f"from balancer.log import configure, logging\n{script}"]
    return subprocess.run(command, text=True, capture_output=True, check=True, timeout=30)


def record(message: str) -> logging.LogRecord:
    return logging.LogRecord("balancer", logging.INFO, "x.py", 1, message, None, None)


def test_the_line() -> None:
    done = run(
        "import os; configure('warning'); log = logging.getLogger('balancer.master')\n"
        "log.info('no'); log.warning('worker %d died', 7); print(os.getpid())",
    )
    assert re.fullmatch(LINE % (int(done.stdout), "WARNING", "worker 7 died"), done.stderr)


def test_again_after_a_fork_and_at_another_level() -> None:
    done = run(
        "import os; configure(); configure('error'); configure('debug')\n"
        "log = logging.getLogger('balancer')\n"
        "if not (pid := os.fork()): configure('debug'); log.debug('child'); os._exit(0)\n"
        "os.waitpid(pid, 0); log.debug('parent'); print(pid, os.getpid())",
    )
    child, parent = map(int, done.stdout.split())
    expected = LINE % (child, "DEBUG", "child") + LINE % (parent, "DEBUG", "parent")
    assert re.fullmatch(expected, done.stderr)


def test_other_loggers_are_left_alone(logger: logging.Logger) -> None:
    handlers = logging.getLogger().handlers[:]
    configure()
    assert logging.getLogger().handlers == handlers
    assert len(logger.handlers) == 1


@pytest.mark.parametrize("stderr", [None, io.StringIO()])
def test_without_a_file_below_stderr(
    logger: logging.Logger, monkeypatch: pytest.MonkeyPatch, stderr: io.StringIO | None
) -> None:
    monkeypatch.setattr(sys, "stderr", stderr)
    configure()
    logger.info("hello")
    if stderr is not None:
        assert stderr.getvalue().endswith("[INFO] hello\n")


CLOSE_AND_RUN = (
    "import os, sys; os.close(2); os.execv(sys.executable, [sys.executable, '-c', sys.argv[1]])"
)
# whatever it opens first gets the number 2
LOG_BESIDE_A_PIPE = """
import os
from balancer.log import configure, logging
os.open(os.devnull, os.O_RDONLY)
reader, writer = os.pipe()
os.dup2(writer, 2)
configure()
logging.getLogger("balancer").error("hello")
os.set_blocking(reader, False)
try:
    print(os.read(reader, 99))
except BlockingIOError:
    print("nothing")
"""


def test_fd_2_is_not_stderr_when_that_was_closed() -> None:
    """The number may belong to a listener or a client by then."""
    done = subprocess.run(
        [sys.executable, "-c", CLOSE_AND_RUN, LOG_BESIDE_A_PIPE],
        stdout=subprocess.PIPE, text=True, check=True, timeout=30,
    )  # fmt: skip
    assert done.stdout == "nothing\n"


def test_a_reader_that_stops_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "PATIENCE", 0.0)
    reader, writer = os.pipe()
    capacity = fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    handler = LineHandler(writer)
    for _ in range(10):
        handler.emit(record("x" * (capacity - 1)))
    # ours is non-blocking, the one that others have isn't
    assert os.get_blocking(writer)
    assert os.read(reader, 65536) == b"x" * (capacity - 1) + b"\n"
    handler.emit(record("back"))
    assert os.read(reader, 65536) == b"(9 log lines were lost here)\nback\n"
    handler.emit(record("again"))
    assert os.read(reader, 65536) == b"again\n"
    handler.close()
    os.close(reader)
    os.close(writer)


def test_another_writer_is_quicker() -> None:
    """The pipe is filled between our poll() and our write()."""
    reader, writer = os.pipe()

    class Raced(LineHandler):
        def _wait(self, deadline: float) -> bool:
            ready = super()._wait(deadline)
            other = os.open(f"/proc/self/fd/{writer}", os.O_WRONLY | os.O_NONBLOCK)
            with contextlib.suppress(BlockingIOError):
                while True:
                    os.write(other, b"x" * 4096)
            os.close(other)
            return ready

    handler = Raced(writer)
    handler.emit(record("hello"))
    assert b"hello" not in os.read(reader, 1 << 20)
    handler.close()
    os.close(reader)
    os.close(writer)


def test_nobody_reads_any_more() -> None:
    reader, writer = os.pipe()
    handler = LineHandler(writer)
    os.close(reader)
    handler.emit(record("hello"))
    handler.close()
    os.close(writer)


def test_a_socket_and_a_long_line() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        handler = LineHandler(ours.fileno())
        handler.emit(record("é" * 5000))
        handler.close()
        assert theirs.recv(20_000) == "é".encode() * 5000 + b"\n"


def test_arguments_that_do_not_fit() -> None:
    reader, writer = os.pipe()
    handler = LineHandler(writer)
    broken = record("%d")
    broken.args = ("x",)
    handler.emit(broken)
    assert os.read(reader, 1000).startswith(b"'%d' % ('x',): TypeError")
    handler.close()
    os.close(reader)
    os.close(writer)
