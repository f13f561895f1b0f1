"""A worker's stderr by way of the master, over real pipes."""

from __future__ import annotations

import os
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

import trio
import trio.lowlevel

from balancer.log import Outlet
from balancer.master import relay
from balancer.master.relay import Relay, Stderr
from tests.support.wait import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest

PIPE = 64 * 1024
DEADLINE = 10


class Line:
    """A worker's end, a relay, and who reads the server's stderr."""

    def __init__(self) -> None:
        self.log, log = os.pipe()
        os.set_blocking(self.log, False)
        self._outlet, self._fd = Outlet(log), log
        self.stderr = Stderr(self._outlet)

    def worker(self) -> tuple[int, Relay]:
        near, far = os.pipe()
        os.set_blocking(far, False)
        return far, Relay(near, self.stderr)

    def read(self) -> bytes:
        """What the reader finds."""
        try:
            return os.read(self.log, PIPE)
        except BlockingIOError:
            return b""

    def close(self) -> None:
        self.stderr.close()
        os.close(self._fd)
        os.close(self.log)


@contextmanager
def line() -> Iterator[Line]:
    found = Line()
    try:
        yield found
    finally:
        found.close()


async def say(far: int, data: bytes) -> None:
    """Write it, when there is room."""
    while True:
        try:
            assert os.write(far, data) == len(data)
        except BlockingIOError:
            await trio.lowlevel.wait_writable(far)
        else:
            break


async def test_lines_pass_and_the_last_are_remembered() -> None:
    with line() as ours:
        far, one = ours.worker()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.run)
            os.write(far, b"hello\nhalf")
            await until(lambda: ours.read() == b"hello\n")
            os.write(far, b" a line, dying")
            assert await one.last_words() == "hello\nhalf a line, dying"
            assert ours.read() == b"half a line, dying\n"
            os.close(far)


async def test_lines_of_two_dont_mix() -> None:
    with line() as ours, trio.fail_after(DEADLINE):
        async with trio.open_nursery() as nursery:
            fars = []
            for _ in range(2):
                far, one = ours.worker()
                fars.append(far)
                nursery.start_soon(one.run)
            for count in range(50):
                for far, word in zip(fars, (b"a", b"b"), strict=True):
                    os.write(far, word * 100)
                await trio.lowlevel.checkpoint()
                if count % 3 == 0:
                    for far in fars:
                        os.write(far, b"\n")
            for far in fars:
                os.close(far)
        lines = ours.read().splitlines()
        assert sum(map(len, lines)) == 2 * 50 * 100
        assert all(len(set(each)) == 1 for each in lines)


async def test_a_reader_that_has_stopped_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "PATIENCE", 0.05)
    with line() as ours, trio.fail_after(DEADLINE):
        far, one = ours.worker()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.run)
            for _ in range(4 * PIPE // 1024):  # more than both pipes hold: dropped, or no end
                await say(far, b"x" * 1023 + b"\n")
            await until(lambda: one._stderr._lost)
            kept = ours.read()
            assert set(kept.splitlines()) == {b"x" * 1023}
            await say(far, b"again\n")
            os.close(far)
            end = b""
            while not end.endswith(b"again\n"):
                await trio.lowlevel.wait_readable(ours.log)
                end += ours.read()
        lost = 4 * PIPE // 1024 - kept.count(b"\n") - end.count(b"x\n")
        assert sum(map(int, re.findall(rb"\((\d+) lines were lost here\)\n", end))) == lost


async def test_nobody_reads_any_more() -> None:
    with line() as ours, trio.fail_after(DEADLINE):
        far, one = ours.worker()
        os.close(ours.log)
        os.write(far, b"to nobody\n")
        os.close(far)
        await one.run()
        assert await one.last_words() == "to nobody"
        ours.log = os.open("/dev/null", os.O_RDONLY)


async def test_one_that_prints_without_end_waits_for_itself() -> None:
    with line() as ours, trio.fail_after(DEADLINE):
        far, one = ours.worker()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.run)
            reads = passed = 0
            start = trio.current_time()
            while trio.current_time() < start + 0.2:
                try:
                    os.write(far, b"y\n" * 2048)
                except BlockingIOError:
                    await trio.lowlevel.checkpoint()
                if found := len(ours.read()):
                    reads, passed = reads + 1, passed + found
            elapsed = trio.current_time() - start
            assert passed <= PIPE * (elapsed / relay.PACE + 2)
            os.close(far)
            nursery.cancel_scope.cancel()
