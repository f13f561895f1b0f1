"""A real fork server process, with workers that do what the test tells them."""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from typing import IO, TYPE_CHECKING, Any, TypeVar, final

import pytest

from balancer.core.messages import (
    Configure,
    Exited,
    ForkServerMessage,
    Guard,
    PacketDecoder,
    PreloadFailed,
    Spawn,
    Spawned,
    SpawnFailed,
    Warm,
    WorkerConfig,
    encode_packet,
)
from balancer.net.packets import packet_pair, recv_packet, send_packet
from tests.net.children import count_fds, run_child

if TYPE_CHECKING:
    from collections.abc import Iterator

ENTRY = "tests.forkserver.entry"
DEADLINE = 10.0
T = TypeVar("T")


def gone(pidfd: int, seconds: float = DEADLINE) -> bool:
    """Whether the process ends within that time."""
    return bool(select.select([pidfd], [], [], seconds)[0])


@final
@dataclass
class Child:
    """A spawned worker, and the test's line to it."""

    number: int
    line: socket.socket
    pid: int = 0
    pidfd: int = -1

    def tell(self, command: str) -> None:
        self.line.sendall(f"{command}\n".encode())

    def ask(self, command: str) -> Any:  # noqa: ANN401 (JSON)
        self.tell(command)
        with self.line.makefile("r") as lines:
            return json.loads(lines.readline())

    def close(self) -> None:
        self.line.close()
        if self.pidfd >= 0:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
            os.close(self.pidfd)


@final
@dataclass
class Server:
    """The fork server, from the master's side, with blocking calls."""

    process: subprocess.Popen[bytes]
    sock: socket.socket
    log: IO[bytes]
    children: list[Child] = field(default_factory=list)
    _decode: PacketDecoder[ForkServerMessage] = field(
        default_factory=lambda: PacketDecoder(ForkServerMessage)
    )

    def hear(self) -> tuple[ForkServerMessage | None, list[int]]:
        packet, fds = recv_packet(self.sock)
        return (self._decode(packet) if packet else None), fds

    def expect(self, kind: type[T]) -> T:
        message, fds = self.hear()
        assert isinstance(message, kind), message
        assert not fds
        return message

    def request_spawn(self, *more: int) -> Child:
        near, far = socket.socketpair()
        near.settimeout(DEADLINE)
        child = Child(len(self.children) + 1, near)
        self.children.append(child)
        with far:
            request = Spawn(child.number, slot=7, row=3, families=(2, 10))
            send_packet(self.sock, encode_packet(request), [far.fileno(), *more])
        return child

    def spawn(self, *more: int) -> Child:
        child = self.request_spawn(*more)
        message, fds = self.hear()
        assert isinstance(message, Spawned), message
        assert message.worker == child.number
        [child.pidfd] = fds
        child.pid = message.pid
        return child


@contextmanager
def fork_server(
    *, graceful: float = 30.0, app: str | None = None, preload: bool = False, warm: bool = True
) -> Iterator[Server]:
    near, far = packet_pair()
    near.settimeout(DEADLINE)
    log = tempfile.TemporaryFile()  # noqa: SIM115 (closed below, after who writes to it)
    with far:
        process = subprocess.Popen(
            [sys.executable, "-m", "balancer.forkserver", str(far.fileno()), ENTRY],
            pass_fds=[far.fileno()],
            start_new_session=True,
            stderr=log,
        )
    server = Server(process, near, log)
    config = WorkerConfig(app=app, log_level="warning")
    send_packet(near, encode_packet(Configure(config, ENTRY, graceful, preload)))
    try:
        if warm:
            server.expect(Warm)
        yield server
    finally:
        near.close()
        for child in server.children:
            child.close()
        process.kill()
        process.wait()
        log.close()


class TestStart:
    def test_it_leaves_with_a_master_that_says_nothing(self) -> None:
        with fork_server(warm=False) as server:
            server.sock.close()
            assert server.process.wait(DEADLINE) == 0

    def test_it_leaves_at_once_when_there_is_nobody_to_wait_for(self) -> None:
        with fork_server(graceful=60) as server:
            server.sock.close()
            assert server.process.wait(DEADLINE) == 0

    def test_a_preload_that_fails_is_reported_and_the_end(self) -> None:
        with fork_server(app="broken", preload=True, warm=False) as server:
            assert server.expect(PreloadFailed).text == "app broken: no module named broken"
            assert server.hear() == (None, [])
            assert server.process.wait(DEADLINE) == 0

    def test_what_is_preloaded_is_there_in_every_child(self) -> None:
        with fork_server(app="mine", preload=True) as server:
            assert [server.spawn().ask("about")["preloaded"] for _ in range(2)] == [["mine"]] * 2

    def test_without_preload_nothing_is(self) -> None:
        with fork_server(app="broken") as server:
            assert server.spawn().ask("about")["preloaded"] == []


class TestChildren:
    def test_a_child_knows_who_it_is(self) -> None:
        with fork_server() as server:
            server.spawn()
            about = server.spawn().ask("about")
            assert (about["worker"], about["slot"], about["families"]) == (2, 7, [2, 10])
            assert about["level"] == "warning"

    def test_the_pidfd_is_the_childs(self) -> None:
        with fork_server() as server:
            child = server.spawn()
            with open(f"/proc/self/fdinfo/{child.pidfd}") as about:
                assert f"Pid:\t{child.pid}\n" in about.read()
            assert not os.get_inheritable(child.pidfd)
            assert not gone(child.pidfd, 0)
            signal.pidfd_send_signal(child.pidfd, signal.SIGKILL)
            assert gone(child.pidfd)

    @pytest.mark.parametrize("code", [0, 1, 42, 255])
    def test_the_exit_code_is_reported(self, code: int) -> None:
        with fork_server() as server:
            child = server.spawn()
            child.tell(f"exit {code}")
            assert server.expect(Exited) == Exited(1, child.pid, code)

    @pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT])
    def test_the_signal_is_reported(self, number: signal.Signals) -> None:
        with fork_server() as server:
            child = server.spawn()
            signal.pidfd_send_signal(child.pidfd, number)
            assert server.expect(Exited) == Exited(1, child.pid, -number)

    def test_an_exception_is_an_exit_code_and_a_traceback(self) -> None:
        with fork_server() as server:
            child = server.spawn()
            child.tell("raise")
            assert server.expect(Exited) == Exited(1, child.pid, 1)
            server.log.seek(0)
            assert b"RuntimeError: as told" in server.log.read()

    def test_all_are_reaped(self) -> None:
        with fork_server() as server:
            children = [server.spawn() for _ in range(8)]
            for child in children:
                child.tell("exit 3")
            exits = {server.expect(Exited).worker for _ in children}
            assert exits == {child.number for child in children}
            for child in children:
                assert not os.path.exists(f"/proc/{child.pid}")

    def test_a_child_has_what_it_was_given_and_nothing_else(self) -> None:
        """Not the master's socket, not its siblings' ends: they would hide a death as no EOF."""
        with fork_server() as server:
            read, write = os.pipe()
            first, last = [server.spawn(write) for _ in range(5)][::4]
            os.close(read)
            os.close(write)
            for child in (first, last):
                kinds = Counter(kind(what) for what in child.ask("fds").values())
                assert kinds["socket"] == 1
                assert kinds["pipe"] == 1 + 2  # the one given, and its own sentinels, both ways
                # besides: 0, 1, 2, and the /dev/null that multiprocessing reads instead of 0
                assert sum(kinds.values()) == 1 + 3 + 4, kinds

    def test_a_child_closes_what_it_was_not_given_at_a_siblings_death(self) -> None:
        with fork_server() as server:
            first, _second = server.spawn(), server.spawn()
            first.tell("exit 0")
            assert server.expect(Exited).worker == first.number
            assert first.line.recv(1) == b""

    def test_the_fork_server_keeps_nothing_of_dead_children(self) -> None:
        with fork_server() as server:
            counts = []
            for _ in range(5):
                child = server.spawn()  # the one before has been buried by now
                counts.append(len(os.listdir(f"/proc/{server.process.pid}/fd")))
                child.tell("exit 0")
                server.expect(Exited)
            assert len(set(counts)) == 1

    def test_the_master_keeps_nothing(self) -> None:
        before = count_fds()
        with fork_server() as server:
            server.spawn().tell("exit 0")
            server.expect(Exited)
        assert count_fds() == before

    def test_it_runs_no_thread(self) -> None:
        with fork_server() as server:
            server.spawn()
            assert len(os.listdir(f"/proc/{server.process.pid}/task")) == 1


class TestSignals:
    @pytest.mark.parametrize(
        "number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP]
    )
    def test_it_goes_on(self, number: signal.Signals) -> None:
        with fork_server() as server:
            server.process.send_signal(number)
            server.spawn().tell("exit 9")
            assert server.expect(Exited).code == 9

    def test_it_has_a_session_of_its_own_which_is_its_childrens_too(self) -> None:
        with fork_server() as server:
            child = server.spawn()
            assert os.getsid(child.pid) == os.getsid(server.process.pid) != os.getsid(0)


class TestTheMastersDeath:
    def test_children_may_finish_within_the_graceful_timeout(self) -> None:
        with fork_server(graceful=60) as server:
            child = server.spawn()
            server.sock.close()
            assert not gone(child.pidfd, 0.05)
            child.tell("exit 0")
            assert gone(child.pidfd)
            assert server.process.wait(DEADLINE) == 0

    def test_who_is_left_after_it_is_killed_even_a_stopped_one(self) -> None:
        with fork_server(graceful=0.3) as server:
            stopped, deaf = server.spawn(), server.spawn()
            stopped.tell("stop")
            server.sock.close()
            began = time.monotonic()
            assert gone(stopped.pidfd)
            assert gone(deaf.pidfd)
            assert 0.2 < time.monotonic() - began < 5
            assert server.process.wait(DEADLINE) == 0

    def test_a_foreign_worker_is_guarded(self) -> None:
        pid = run_child(signal.pause)
        pidfd = os.pidfd_open(pid)
        try:
            with fork_server(graceful=0.1) as server:
                send_packet(server.sock, encode_packet(Guard()), [pidfd])
                server.sock.close()
                assert gone(pidfd)
                assert server.process.wait(DEADLINE) == 0
        finally:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            os.waitpid(pid, 0)
            os.close(pidfd)

    def test_a_guarded_one_that_ends_by_itself_is_not_reported(self) -> None:
        pid = run_child(lambda: None)
        pidfd = os.pidfd_open(pid)
        with fork_server() as server:
            send_packet(server.sock, encode_packet(Guard()), [pidfd])
            assert gone(pidfd)
            server.spawn().tell("exit 5")
            assert server.expect(Exited).code == 5
        os.waitpid(pid, 0)
        os.close(pidfd)

    def test_a_guarded_one_that_is_gone_saves_nobody_from_being_killed(self) -> None:
        pids = [run_child(signal.pause) for _ in range(4)]
        pidfds = [os.pidfd_open(pid) for pid in pids]
        with fork_server(graceful=0.1) as server:
            send_packet(server.sock, encode_packet(Guard()), pidfds)
            child = server.spawn()
            os.kill(server.process.pid, signal.SIGSTOP)  # it sees all of this at once
            server.sock.close()
            for pid in pids[1:]:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            os.kill(server.process.pid, signal.SIGCONT)
            assert gone(pidfds[0])
            assert gone(child.pidfd)
            assert server.process.wait(DEADLINE) == 0
        os.waitpid(pids[0], 0)
        for pidfd in pidfds:
            os.close(pidfd)


class TestWithoutDescriptors:
    @pytest.mark.parametrize("spare", range(5))
    def test_a_spawn_that_fails_is_reported_and_the_next_one_works(self, spare: int) -> None:
        with fork_server() as server:
            pid = server.process.pid
            limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
            room = lowest_free_fd(pid) + spare
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (room, limits[1]))
            server.request_spawn()
            assert server.expect(SpawnFailed).worker == 1
            resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
            server.spawn().tell("exit 4")
            assert server.expect(Exited).code == 4


def lowest_free_fd(pid: int) -> int:
    taken = set(map(int, os.listdir(f"/proc/{pid}/fd")))
    return next(fd for fd in count() if fd not in taken)


def kind(what: str) -> str:
    return what.partition(":[")[0] if not what.startswith("anon") else what
