"""The control socket's server, with real sockets, and the real client where it matters."""

from __future__ import annotations

import errno
import itertools
import json
import logging
import os
import socket
import subprocess
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from balancer.cli.client import ask
from balancer.core.control import (
    MAX_LINE,
    Drain,
    GetStatus,
    Reload,
    Reopen,
    Reply,
    Scale,
    Stop,
    decode_reply,
    encode,
    to_status,
)
from balancer.errors import BalancerError, RunError, UsageError
from balancer.master import control
from balancer.master.control import MAX_CLIENTS, serve_control
from balancer.net.control import Address
from balancer.settings import Settings
from tests.core.test_control import GARBAGE, OTHER_VERSION, status
from tests.support.stranger import stranger
from tests.support.wait import until

if TYPE_CHECKING:
    from pathlib import Path

    from balancer.core.control import Request, Status


class FakeCommands:
    """Notes what it is told; refuses to drain anything but worker 1."""

    def __init__(self) -> None:
        self.calls: list[object] = []

    def status(self) -> Status:
        self.calls.append("status")
        return status("ready", "draining")

    async def reload(self, *, wait: bool = False) -> None:
        self._note("reload", wait=wait)

    async def restart(self, worker_id: int | None, *, wait: bool = False) -> None:
        self._note("restart", worker_id, wait=wait)

    async def upgrade(self, *, wait: bool = False) -> None:
        self._note("upgrade", wait=wait)

    async def reopen(self) -> None:
        self._note("reopen")

    async def scale(self, workers: int | None, *, by: int = 0, wait: bool = False) -> int:
        self._note("scale", by if workers is None else workers, wait=wait)
        return 2 + by if workers is None else workers

    async def drain(self, worker_id: int, *, wait: bool = False) -> None:
        if worker_id != 1:
            raise UsageError(f"drain {worker_id}: no such worker")
        self._note("drain", worker_id, wait=wait)

    async def resume(self, worker_id: int) -> None:
        self._note("resume", worker_id)

    async def drain_upstream(self, upstream: str, *, wait: bool = False) -> None:
        self._note("drain", upstream, wait=wait)

    async def resume_upstream(self, upstream: str) -> None:
        self._note("resume", upstream)

    async def weigh(self, upstream: str, weight: int) -> None:
        self._note("weight", upstream, weight)

    async def log_level(self, level: str) -> None:
        self._note("log-level", level)

    async def stop(self, *, quick: bool, wait: bool = False) -> None:
        self._note("stop", quick, wait=wait)

    def _note(self, *call: object, wait: bool = False) -> None:
        """A word, its arguments, and that it was to be waited for."""
        noted = (*call, "wait") if wait else call
        self.calls.append(noted if len(noted) > 1 else noted[0])


class Server:
    """A control server on a path, and clients of it."""

    def __init__(self, nursery: trio.Nursery, path: Path) -> None:
        self.nursery = nursery
        self.path = path
        self.commands = FakeCommands()
        self.address = Address("c", str(path))

    async def start(self) -> None:
        settings = Settings(control=str(self.path))
        address = await self.nursery.start(serve_control, self.commands, settings)
        assert address == str(self.path)

    async def ask(self, request: Request, timeout: float = 5.0) -> Reply:
        return await trio.to_thread.run_sync(partial(ask, self.address, request, timeout))

    async def talk(self, *pieces: bytes, half_close: bool = True) -> list[Reply]:
        """Send the pieces; every reply up to the server's close."""
        async with await trio.open_unix_socket(str(self.path)) as stream:
            for piece in pieces:
                await stream.send_all(piece)
                await trio.testing.wait_all_tasks_blocked()
            if half_close:
                await stream.send_eof()
            received = b"".join([chunk async for chunk in stream])
        return [decode_reply(line) for line in received.splitlines()]


@pytest.fixture
async def server(nursery: trio.Nursery, tmp_path: Path) -> Server:
    made = Server(nursery, tmp_path / "c.sock")
    await made.start()
    return made


@pytest.mark.parametrize(
    ("request_", "call"),
    [
        (Reload(), "reload"),
        (Reopen(), "reopen"),
        (Scale(workers=3), ("scale", 3)),
        (Drain(worker_id=1), ("drain", 1)),
        (Stop(), ("stop", False)),
        (Stop(quick=True), ("stop", True)),
    ],
)
async def test_commands(server: Server, request_: Request, call: object) -> None:
    result = 3 if isinstance(request_, Scale) else None
    assert await server.ask(request_) == Reply(ok=True, result=result)
    assert server.commands.calls == [call]


async def test_status(server: Server) -> None:
    reply = await server.ask(GetStatus())
    assert to_status(reply.result) == status("ready", "draining")


async def test_a_refusal_is_an_answer(server: Server) -> None:
    reply = await server.ask(Drain(worker_id=9))
    assert reply == Reply(ok=False, error="drain 9: no such worker")
    assert (await server.ask(Reload())).ok


async def test_several_requests_on_one_connection(server: Server) -> None:
    replies = await server.talk(encode(Reload()) + encode(Scale(workers=2)), encode(Reload()))
    assert replies == [Reply(ok=True), Reply(ok=True, result=2), Reply(ok=True)]
    assert server.commands.calls == ["reload", ("scale", 2), "reload"]


async def test_byte_by_byte(server: Server) -> None:
    pieces = [bytes([byte]) for byte in encode(Scale(workers=2))]
    assert await server.talk(*pieces) == [Reply(ok=True, result=2)]


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", GARBAGE),
        (b"\0" * 100 + b"\n" + encode(Reload()), GARBAGE),
        (b'{"do":"reload"}', "the request has no end: its newline is missing"),
        (b'{"v":2,"do":"reload"}\n', OTHER_VERSION),
        (b"x" * MAX_LINE, "a request has at most 65536 bytes"),
    ],
)
async def test_garbage_gets_one_error_and_harms_nothing(
    server: Server, data: bytes, problem: str
) -> None:
    assert await server.talk(data) == [Reply(ok=False, error=problem)]
    assert server.commands.calls == []
    assert (await server.ask(Reload())).ok


async def test_the_longest_line(server: Server) -> None:
    request = encode(Reload())
    padded = request[:-2] + b" " * (MAX_LINE - len(request)) + b"}\n"
    assert len(padded) == MAX_LINE
    assert await server.talk(padded) == [Reply(ok=True)]


async def test_a_client_that_says_nothing(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    assert await server.talk() == []
    monkeypatch.setattr(control, "PATIENCE", 0.05)
    replies = await server.talk(b'{"do":', half_close=False)
    assert replies == [Reply(ok=False, error="no complete request in 0.05 s")]


async def test_stalled_clients_hold_up_others_only_for_a_while(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "PATIENCE", 0.1)
    stalled = [await trio.open_unix_socket(str(server.path)) for _ in range(2 * MAX_CLIENTS)]
    assert (await server.ask(Reload())).ok
    for stream in stalled:
        await stream.aclose()


async def test_a_client_that_does_not_read(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "SEND_PATIENCE", 0.05)
    async with await trio.open_unix_socket(str(server.path)) as stream:
        with pytest.raises(trio.BrokenResourceError):
            await stream.send_all(encode(GetStatus()) * 100_000)
    assert (await server.ask(Reload())).ok


async def test_clients_that_vanish(server: Server) -> None:
    for _ in range(3 * MAX_CLIENTS):
        stream = await trio.open_unix_socket(str(server.path))
        await stream.send_all(encode(GetStatus()))
        await stream.aclose()
    assert (await server.ask(Reload())).ok


class Slow(FakeCommands):
    """What is to be waited for takes until it is ``over``; a reload is given up then."""

    def __init__(self) -> None:
        super().__init__()
        self.over = trio.Event()
        self.waiting = 0

    async def _wait(self, wait: bool) -> None:
        if wait:
            self.waiting += 1
            try:
                await self.over.wait()
            finally:
                self.waiting -= 1

    async def reload(self, *, wait: bool = False) -> None:
        await super().reload(wait=wait)
        await self._wait(wait)
        if wait:
            raise RunError("reload: there is no such app")

    async def scale(self, workers: int | None, *, by: int = 0, wait: bool = False) -> int:
        await self._wait(wait)
        return await super().scale(workers, by=by, wait=wait)


@pytest.fixture
async def slow(nursery: trio.Nursery, tmp_path: Path) -> Server:
    made = Server(nursery, tmp_path / "c.sock")
    made.commands = Slow()
    await made.start()
    return made


def waiting(server: Server) -> int:
    assert isinstance(server.commands, Slow)
    return server.commands.waiting


def be_done(server: Server) -> None:
    assert isinstance(server.commands, Slow)
    server.commands.over.set()


async def test_who_waits_is_told_how_it_ended(slow: Server, nursery: trio.Nursery) -> None:
    replies: list[Reply] = []

    async def ask_for(request: Request) -> None:
        replies.append(await slow.ask(request))

    nursery.start_soon(ask_for, Scale(by=1, wait=True))
    nursery.start_soon(ask_for, Reload(wait=True))
    await until(lambda: waiting(slow) == 2)
    assert await slow.ask(Reload()) == Reply(ok=True)  # nobody else waits
    assert replies == []
    be_done(slow)
    await until(lambda: len(replies) == 2)
    assert sorted(replies, key=lambda reply: reply.ok) == [
        Reply(ok=False, error="reload: there is no such app"),
        Reply(ok=True, result=3, done=True),
    ]


async def test_without_descriptors_nobody_can_wait(
    slow: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    def epoll() -> object:
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr("balancer.master.control.select.epoll", epoll)
        reply = await slow.ask(Reload(wait=True))
    assert reply.error == "nobody can wait now: Too many open files; try without --wait"
    assert await slow.ask(Reload()) == Reply(ok=True)


async def test_who_hangs_up_waits_no_more_and_who_only_half_closes_does(slow: Server) -> None:
    stream = await trio.open_unix_socket(str(slow.path))
    await stream.send_all(encode(Scale(by=1, wait=True)))
    await until(lambda: waiting(slow) == 1)
    await stream.send_eof()
    await trio.testing.wait_all_tasks_blocked()
    assert waiting(slow) == 1
    await stream.aclose()
    await until(lambda: waiting(slow) == 0)
    assert (await slow.ask(Reload())).ok


def _waits(server: Server, count: int) -> bool:
    return waiting(server) == count


async def test_those_who_wait_are_in_nobodys_way_and_are_not_too_many(
    slow: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "MAX_WAITING", 2 * MAX_CLIENTS)
    streams = [await trio.open_unix_socket(str(slow.path)) for _ in range(2 * MAX_CLIENTS)]
    for number, stream in enumerate(streams, 1):
        await stream.send_all(encode(Scale(by=1, wait=True)))
        await until(partial(_waits, slow, number))
    assert (await slow.ask(Reload())).ok
    assert await slow.ask(Scale(by=1, wait=True)) == Reply(
        ok=False, error="32 commands wait for something already; try without --wait"
    )
    be_done(slow)
    for stream in streams:
        async with stream:
            assert decode_reply(await stream.receive_some()).done
            assert await stream.receive_some() == b""


LINES = st.one_of(
    st.binary(max_size=80),
    st.sampled_from([encode(Reload()), encode(GetStatus()), encode(Drain(worker_id=9))]),
    st.builds(
        lambda line, at, byte: line[:at] + bytes([byte]) + line[at:],
        st.just(encode(Scale(workers=2, wait=True))),
        st.integers(0, 30),
        st.integers(0, 255),
    ),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["do", "v", "workers", "by", "wait"]), inner)
        ),
        max_leaves=5,
    ).map(lambda value: json.dumps(value).encode() + b"\n"),
)


def test_whatever_comes_gets_replies_or_a_close_and_harms_nothing(tmp_path: Path) -> None:
    """Garbage, half messages, any cut, and a client that leaves in the middle of it."""

    async def converse(pieces: list[bytes], leave: bool) -> None:
        path = tmp_path / "fuzz.sock"
        async with trio.open_nursery() as nursery:
            server = Server(nursery, path)
            await server.start()
            stream = await trio.open_unix_socket(str(path))
            async with stream:
                with suppress(trio.BrokenResourceError):  # it had heard enough
                    for piece in pieces:
                        await stream.send_all(piece)
                    await stream.send_eof()
                if not leave:
                    received = bytearray()
                    with suppress(trio.BrokenResourceError), trio.fail_after(10):
                        async for chunk in stream:
                            received += chunk
                    for line in received.splitlines():
                        decode_reply(bytes(line))
            assert (await server.talk(encode(Reload())))[0].ok
            nursery.cancel_scope.cancel()

    @settings(max_examples=60, deadline=None)
    @given(st.lists(LINES, max_size=6).map(b"".join), st.lists(st.integers(0, 300)), st.booleans())
    def fuzz(data: bytes, cuts: list[int], leave: bool) -> None:
        places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
        pieces = [data[a:b] for a, b in itertools.pairwise(places) if a < b]
        trio.run(converse, pieces, leave, strict_exception_groups=True)

    fuzz()


async def test_the_answer_to_stop_survives_the_stop(tmp_path: Path) -> None:
    class Stopping(FakeCommands):
        async def stop(self, *, quick: bool, wait: bool = False) -> None:
            await super().stop(quick=quick, wait=wait)
            master.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        master = await nursery.start(_nursery)
        server = Server(master, tmp_path / "c.sock")
        server.commands = Stopping()
        await server.start()
        assert await server.talk(encode(Stop())) == [Reply(ok=True)]
    assert not server.path.exists()


async def _nursery(task_status: trio.TaskStatus[trio.Nursery]) -> None:
    """A nursery that can be cancelled on its own."""
    async with trio.open_nursery() as nursery:
        task_status.started(nursery)
        await trio.sleep_forever()


async def test_its_socket_goes_with_it_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "c.sock"
    for replaced in (False, True):
        async with trio.open_nursery() as nursery:
            await Server(nursery, path).start()
            if replaced:
                path.unlink()
                path.write_text("another's")
            nursery.cancel_scope.cancel()
        assert path.exists() is replaced


async def test_no_control(nursery: trio.Nursery) -> None:
    assert await nursery.start(serve_control, FakeCommands(), Settings(no_control=True)) is None


async def test_where_none_can_be_made_the_server_runs_on(
    nursery: trio.Nursery,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/dev/null")
    monkeypatch.setenv("TMPDIR", str(tmp_path / "none"))
    name = f"taken-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as taken:
        taken.bind(f"\0balancer/{os.geteuid()}/{name}")
        taken.listen()
        with caplog.at_level(logging.WARNING):
            assert await nursery.start(serve_control, FakeCommands(), Settings(name=name)) is None
    message = caplog.records[-1].getMessage()
    assert message.startswith("no control socket, balancer status won't work: ")
    assert message.endswith(
        f"@balancer/{os.geteuid()}/{name}: another server has this control socket"
    )


async def test_a_named_path_that_cannot_be_is_an_error(tmp_path: Path) -> None:
    settings = Settings(control=str(tmp_path / "none" / "c.sock"))
    with pytest.raises(RunError, match=r"^--control .*: No such file or directory$"):
        await serve_control(FakeCommands(), settings)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
async def test_a_stranger_is_not_heard(
    nursery: trio.Nursery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/dev/null")
    monkeypatch.setenv("TMPDIR", str(tmp_path / "none"))
    commands = FakeCommands()
    settings = Settings(name=f"stranger-{os.getpid()}")
    address = await nursery.start(serve_control, commands, settings)
    done = await trio.run_process(stranger(address), capture_stdout=True, stderr=subprocess.DEVNULL)
    assert done.stdout == b"b''\n"
    assert commands.calls == []


async def test_a_bug_in_a_command_reaches_the_supervisor(tmp_path: Path) -> None:
    class Broken(FakeCommands):
        def status(self) -> Status:
            raise ZeroDivisionError

    with pytest.RaisesGroup(ZeroDivisionError, flatten_subgroups=True):
        async with trio.open_nursery() as nursery:
            server = Server(nursery, tmp_path / "c.sock")
            server.commands = Broken()
            await server.start()
            with pytest.raises(BalancerError):
                await server.ask(GetStatus())


async def test_a_server_without_descriptors_says_so(nursery: trio.Nursery, tmp_path: Path) -> None:
    class Short(FakeCommands):
        async def reopen(self) -> None:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    server = Server(nursery, tmp_path / "short.sock")
    server.commands = Short()
    await server.start()
    assert await server.ask(Reopen()) == Reply(
        ok=False, error="the server can't do that now: Too many open files"
    )
