"""Binding: every kind of address, and the sentences for those that can't be."""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import subprocess
import sys
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from balancer.errors import RunError
from balancer.net import listener, opening, unix
from balancer.net.opening import add_shard, open_listeners
from balancer.settings import FdBind, TcpBind, UnixBind
from tests.net.children import count_fds, exit_code, run_child
from tests.net.listeners import LOCAL, accept, ipv6, listening, port_of, refusal, take

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import ModuleType

OURS = " by this process: is it given twice? (a reload can't widen an address)"


class TestTcp:
    def test_port_0_becomes_a_real_one(self) -> None:
        with listening(LOCAL) as [lane]:
            assert port_of(lane) > 0
            assert lane.address == f"http://127.0.0.1:{port_of(lane)}"
            with socket.create_connection(("127.0.0.1", port_of(lane))), take(lane):
                pass

    def test_every_bind_is_a_lane_of_its_own(self) -> None:
        with listening(LOCAL, LOCAL, LOCAL) as lanes:
            assert [lane.lane for lane in lanes] == [0, 1, 2]
            assert len({port_of(lane) for lane in lanes}) == 3

    def test_a_name_can_be_bound(self) -> None:
        with listening(TcpBind("localhost", 0)) as lanes:
            assert len(lanes) == 1  # two families would get two ports

    @ipv6
    def test_ipv6_is_written_with_brackets(self) -> None:
        with listening(TcpBind("::1", 0)) as [lane]:
            assert lane.address == f"http://[::1]:{port_of(lane)}"
            with socket.create_connection(("::1", port_of(lane))), take(lane):
                pass

    @ipv6
    def test_all_of_ipv6_takes_ipv4_too(self) -> None:
        with (
            listening(TcpBind("::", 0)) as [lane],
            socket.create_connection(("127.0.0.1", port_of(lane))),
            take(lane),
        ):
            pass

    @ipv6
    def test_unless_ipv4_is_bound_beside_it(self) -> None:
        with listening(LOCAL) as [lane]:
            port = port_of(lane)
        with listening(TcpBind("0.0.0.0", port), TcpBind("::", port)) as [four, six]:
            with socket.create_connection(("127.0.0.1", port)), take(four):
                pass
            with socket.create_connection(("::1", port)), take(six):
                pass

    def test_it_can_be_bound_again_at_once(self) -> None:
        with listening(LOCAL) as [lane]:
            port = port_of(lane)
            client = socket.create_connection(("127.0.0.1", port))
            take(lane).close()  # the server closes first: TIME_WAIT is on its side
        with client, listening(TcpBind("127.0.0.1", port)):
            pass

    def test_accepted_connections_inherit_what_saves_their_system_calls(self) -> None:
        with (
            listening(LOCAL) as [lane],
            socket.create_connection(("127.0.0.1", port_of(lane))),
            take(lane) as accepted,
        ):
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 60
            assert not accepted.get_inheritable()

    def test_the_listener_does_not_block_and_is_not_inherited(self) -> None:
        with listening(LOCAL) as [lane]:
            assert lane.sock.gettimeout() == 0
            assert not os.get_inheritable(lane.fileno())

    def test_the_backlog_is_the_one_asked_for(self) -> None:
        with listening(LOCAL, backlog=7) as [lane]:
            # tcpi_sacked of a listening socket is its backlog
            info = lane.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
            assert struct.unpack_from("=I", info, 28)[0] == 7


class TestReusePort:
    def test_a_shard_is_on_the_same_address(self) -> None:
        with listening(LOCAL, reuseport=True, backlog=100) as [lane]:
            shard = add_shard(lane, backlog=100)
            assert lane.sharded
            assert shard.sharded
            assert (shard.lane, shard.address) == (lane.lane, lane.address)
            with ExitStack() as stack:
                for _ in range(64):
                    stack.enter_context(socket.create_connection(("127.0.0.1", port_of(lane))))
                counts = [len(accept(each)) for each in (lane, shard)]
            assert sum(counts) == 64
            assert min(counts) > 0
            shard.close()

    def test_without_it_there_are_no_shards(self) -> None:
        with listening(LOCAL) as [lane]:
            assert not lane.sharded

    @pytest.mark.parametrize("theirs", [True, False])
    def test_a_second_server_is_noticed(self, theirs: bool) -> None:
        with listening(LOCAL, reuseport=theirs) as [lane]:
            port = port_of(lane)
            text = refusal(TcpBind("127.0.0.1", port), reuseport=True)
            assert text == f"-b 127.0.0.1:{port}: address already in use{OURS}"

    def test_the_same_bind_twice_is_noticed(self) -> None:
        with listening(LOCAL) as [lane]:
            bind = TcpBind("127.0.0.1", port_of(lane))
        assert refusal(bind, bind, reuseport=True).endswith(f"address already in use{OURS}")

    @ipv6
    def test_a_shard_of_all_addresses_is_dual_too(self) -> None:
        with listening(TcpBind("::", 0), reuseport=True) as [lane]:
            shard = add_shard(lane, backlog=16)
            assert shard.sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 0
            shard.close()


class TestUnix:
    def test_a_path_is_bound_and_removed_at_the_end(self, tmp_path: Path) -> None:
        path = tmp_path / "s"
        with listening(UnixBind(str(path))) as [lane]:
            assert lane.address == f"unix:{path}"
            assert not lane.sharded
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(path))
                take(lane).close()
        assert not path.exists()

    def test_closing_twice_is_closing_once(self, tmp_path: Path) -> None:
        path = tmp_path / "s"
        with listening(UnixBind(str(path))) as [lane]:
            lane.close()
            path.touch()
        assert path.exists()

    def test_a_stale_socket_is_replaced(self, tmp_path: Path) -> None:
        path = str(tmp_path / "s")
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(path)
            dead.listen()
        with listening(UnixBind(path)) as [lane], socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
            take(lane).close()

    def test_a_live_one_is_refused_and_left_alone(self, tmp_path: Path) -> None:
        path = str(tmp_path / "s")
        with listening(UnixBind(path)) as [lane]:
            assert refusal(UnixBind(path)) == f"-b unix:{path}: address already in use{OURS}"
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(path)
            assert accept(lane)

    def test_one_whose_backlog_is_full_is_alive(self, tmp_path: Path) -> None:
        path = str(tmp_path / "s")
        with listening(UnixBind(path), backlog=0), ExitStack() as stack:
            client = stack.enter_context(socket.socket(socket.AF_UNIX))
            client.connect(path)
            assert refusal(UnixBind(path)).endswith(f"address already in use{OURS}")

    @pytest.mark.parametrize(
        ("make", "kind"),
        [
            (os.mkdir, "a directory"),
            (os.mkfifo, "a FIFO"),
            (lambda path: path.write_text("data"), "a regular file"),
            (lambda path: path.symlink_to("nowhere"), "a symbolic link"),
        ],
    )
    def test_what_is_no_socket_is_named_and_never_removed(
        self, tmp_path: Path, make: Callable[[Path], object], kind: str
    ) -> None:
        path = tmp_path / "precious"
        make(path)
        before = path.lstat()
        assert refusal(UnixBind(str(path))) == (
            f"-b unix:{path}: this is {kind}, not a socket, and it is not removed"
        )
        assert path.lstat() == before

    @pytest.mark.parametrize("step", [(unix, "_answers"), (opening, "_listen")])
    def test_of_two_servers_that_start_together_one_gets_the_path(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: tuple[ModuleType, str]
    ) -> None:
        """The second one comes when the first has seen a stale socket, or has not listened yet."""
        path = str(tmp_path / "s")
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(path)
        said, says = os.pipe()
        children: list[int] = []
        where, name = step
        real = getattr(where, name)

        def second() -> None:
            monkeypatch.undo()

            def wait(_seconds: float) -> None:
                os.write(says, b"waits")
                time.sleep(0.01)

            monkeypatch.setattr(unix, "sleep", wait)
            try:
                open_listeners((UnixBind(path),), backlog=16)
            except RunError:
                os._exit(7)

        def meanwhile(*args: object) -> object:
            answers = real(*args) if where is unix else None
            if not children:
                children.append(run_child(second))
                os.close(says)
                os.read(said, 5)  # that it waits, or nothing: it has ended
            return real(*args) if where is opening else answers

        monkeypatch.setattr(where, name, meanwhile)
        with listening(UnixBind(path)) as [lane], socket.socket(socket.AF_UNIX) as client:
            assert exit_code(children[0]) == 7
            accept(lane)  # the second one's look
            client.connect(path)
            take(lane).close()
        os.close(said)

    def test_somebody_who_locks_the_folder_for_ever_is_no_obstacle(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(unix, "PATIENCE", 0.05)
        fd = os.open(tmp_path, os.O_RDONLY)
        fcntl.flock(fd, fcntl.LOCK_EX)
        with listening(UnixBind(str(tmp_path / "s"))):
            pass
        os.close(fd)

    def test_nothing_else_is_left_behind(self, tmp_path: Path) -> None:
        before = count_fds()
        with listening(UnixBind(str(tmp_path / "s"))):
            assert os.listdir(tmp_path) == ["s"]
            assert count_fds() == before + 1
        assert os.listdir(tmp_path) == []

    def test_while_it_is_removed_nobody_takes_it(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A file system may give the next socket the same inode number."""
        path, seen = str(tmp_path / "s"), []
        with listening(UnixBind(path)) as [lane]:

            def look(path: str) -> tuple[int, int] | None:
                seen.append(unix._answers(path))
                return unix.identity(path)

            monkeypatch.setattr(listener, "identity", look)
            lane.close()
        assert seen == [True]

    def test_a_file_that_somebody_has_put_in_its_place_stays(self, tmp_path: Path) -> None:
        path = tmp_path / "s"
        with listening(UnixBind(str(path))):
            path.unlink()
            path.touch()
        assert path.exists()


class TestInherited:
    def test_a_socket_of_our_parent(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as parents:
            with listening(FdBind(parents.fileno())) as [lane]:
                assert lane.fileno() != parents.fileno()
                assert not os.get_inheritable(lane.fileno())
                assert lane.address == f"http://127.0.0.1:{parents.getsockname()[1]}"
                with socket.create_connection(parents.getsockname()), take(lane):
                    pass
            assert parents.fileno() >= 0

    def test_a_unix_socket_of_our_parent_is_not_ours_to_remove(self, tmp_path: Path) -> None:
        path = tmp_path / "s"
        with socket.socket(socket.AF_UNIX) as parents:
            parents.bind(str(path))
            with listening(FdBind(parents.fileno())) as [lane]:
                assert lane.address == f"unix:{path}"
        assert path.exists()

    def test_a_descriptor_that_is_not_open(self) -> None:
        assert refusal(FdBind(999)) == "-b fd://999: no such open file descriptor"

    def test_a_file(self) -> None:
        with open(os.devnull) as file:
            fd = file.fileno()
            assert refusal(FdBind(fd)) == f"-b fd://{fd}: not a socket"

    def test_a_datagram_socket(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wrong:
            fd = wrong.fileno()
            assert refusal(FdBind(fd)) == f"-b fd://{fd}: not a stream socket"

    def test_a_connection(self) -> None:
        with (
            socket.create_server(("127.0.0.1", 0)) as server,
            socket.create_connection(server.getsockname()) as wrong,
        ):
            assert refusal(FdBind(wrong.fileno())).startswith(f"-b fd://{wrong.fileno()}: ")


class TestSentences:
    def test_a_port_that_is_taken(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            text = refusal(LOCAL, TcpBind("127.0.0.1", port))
            assert text == f"-b 127.0.0.1:{port}: address already in use{OURS}"

    def test_an_address_of_another_machine(self) -> None:
        assert refusal(TcpBind("192.0.2.1", 8000)) == (
            "-b 192.0.2.1:8000: this machine has no such address"
        )

    def test_a_name_that_means_nothing(self) -> None:
        text = refusal(TcpBind("no.such.host.invalid", 8000))
        assert text.startswith("-b no.such.host.invalid:8000: ")
        assert "\n" not in text

    @pytest.mark.parametrize("host", ["a..b", "x" * 64 + ".example"])
    def test_a_name_that_no_host_can_have(self, host: str) -> None:
        text = refusal(TcpBind(host, 8000))
        assert text.startswith(f"-b {host}:8000: ")

    def test_a_folder_that_is_not_there(self, tmp_path: Path) -> None:
        path = tmp_path / "no" / "s"
        assert refusal(UnixBind(str(path))) == f"-b unix:{path}: no such directory"

    def test_a_path_that_is_too_long(self, tmp_path: Path) -> None:
        path = str(tmp_path / ("x" * 120))
        assert refusal(UnixBind(path)).startswith(f"-b unix:{path}: ")

    def test_where_the_user_said_it_is_what_is_blamed(self) -> None:
        with pytest.raises(RunError, match=r"^site.toml: bind fd://999: "):
            open_listeners((FdBind(999),), backlog=1, where="site.toml: bind")

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody who may not")
    def test_a_privileged_port_says_what_is_needed(self) -> None:
        script = """if True:
            import os
            from balancer.errors import RunError
            from balancer.net.opening import open_listeners
            from balancer.settings import TcpBind
            "x".encode("idna")  # what getaddrinfo imports, perhaps from a folder of root's
            os.setresuid(54321, 54321, 54321)
            try:
                open_listeners((TcpBind("127.0.0.1", 81),), backlog=1)
            except RunError as error:
                print(error)
        """
        with open("/proc/sys/net/ipv4/ip_unprivileged_port_start") as limit:
            if int(limit.read()) <= 81:
                pytest.skip("everybody may bind ports below 1024 here")
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=True
        )
        assert done.stdout == (
            "-b 127.0.0.1:81: permission denied; "
            "ports below 1024 need root or CAP_NET_BIND_SERVICE\n"
        )

    def test_what_was_bound_before_an_error_is_let_go(self, tmp_path: Path) -> None:
        path = tmp_path / "s"
        refusal(UnixBind(str(path)), FdBind(999))
        assert not path.exists()
