"""Sockets that systemd passes: which of them are ours, and what they are beside the binds."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest

from balancer.errors import RunError
from balancer.net.systemd import Passed, adopt_passed, take_passed
from balancer.settings import FdBind, Settings, TcpBind, UnixBind
from balancer.settings.load import flag_given, load
from tests.net.children import exit_code, run_child

if TYPE_CHECKING:
    from collections.abc import Callable

    from balancer.settings import Bind

PORT = Passed(3, "web.socket", "127.0.0.1:80")
ANY = Passed(3, "", "[::]:80")
PATH = Passed(4, "", "unix:/run/web.sock")


# -- what is taken from the environment -----------------------------------------------------------


def with_passed(*sockets: socket.socket, check: Callable[[], None]) -> None:
    """Run a check in a child whose descriptors from 3 on are these sockets, as after an exec."""

    def act() -> None:
        copies = [os.dup(sock.fileno()) for sock in sockets]
        high = [os.dup2(fd, 900 + index) for index, fd in enumerate(copies)]
        os.closerange(3, 900)
        for index, fd in enumerate(high):
            os.dup2(fd, 3 + index)
        os.closerange(3 + len(high), 1000)
        check()

    assert exit_code(run_child(act)) == 0


def environ(count: int, names: str = "") -> dict[str, str]:
    return {
        "LISTEN_PID": str(os.getpid()),
        "LISTEN_FDS": str(count),
        "LISTEN_FDNAMES": names,
        "HOME": "/",
    }


def listening(family: int, address: object) -> socket.socket:
    sock = socket.socket(family)
    sock.bind(address)  # type: ignore[arg-type]  # of any family
    sock.listen()
    return sock


def test_the_sockets_are_taken_with_their_names_and_not_inherited() -> None:
    with (
        listening(socket.AF_INET, ("127.0.0.1", 0)) as first,
        listening(socket.AF_INET6, ("::1", 0)) as second,
        listening(socket.AF_UNIX, f"\0balancer-test-{os.getpid()}") as third,
    ):
        ports = first.getsockname()[1], second.getsockname()[1]
        name = third.getsockname()[1:].decode()

        def check() -> None:
            env = environ(3, "web:v6:")
            passed = take_passed(env, os.getpid())
            assert [str(each) for each in passed] == [
                f"127.0.0.1:{ports[0]} (web)",
                f"[::1]:{ports[1]} (v6)",
                f"unix:@{name}",
            ]
            assert env == {"HOME": "/"}
            assert not any(os.get_inheritable(fd) for fd in (3, 4, 5))

        with_passed(first, second, third, check=check)


def test_a_parents_sockets_are_not_ours_and_go_from_the_environment() -> None:
    env = {**environ(1), "LISTEN_PID": str(os.getppid())}
    assert take_passed(env, os.getpid()) == []
    assert env == {"HOME": "/"}
    assert take_passed({}, os.getpid()) == []


def test_what_is_no_listening_stream_socket_is_said() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagrams:

        def check_datagrams() -> None:
            with pytest.raises(RunError, match=r"fd 3 \(x\), .* isn't a stream socket: write Lis"):
                take_passed(environ(1, "x"), os.getpid())

        with_passed(datagrams, check=check_datagrams)
    one, other = socket.socketpair()
    with one, other:

        def check_connection() -> None:
            with pytest.raises(RunError, match=r"fd 3, .* is a connection: write Accept=no"):
                take_passed(environ(1), os.getpid())

        with_passed(one, check=check_connection)

    def check_nothing() -> None:
        with pytest.raises(RunError, match=r"fd 3, .* is no socket of ours: Bad file descriptor"):
            take_passed(environ(1), os.getpid())

    with_passed(check=check_nothing)


# -- which of them are the binds ------------------------------------------------------------------


def given(*binds: str) -> Settings:
    return load([flag_given("bind", "-b", bind, bind) for bind in binds])


def test_without_passed_sockets_nothing_changes() -> None:
    settings = given("127.0.0.1:80")
    assert adopt_passed(settings, []) is settings


def test_without_binds_they_are_the_binds() -> None:
    assert adopt_passed(load(), [PORT, PATH]).bind == (FdBind(3), FdBind(4))
    # a platform's PORT is no bind, but a default
    assert adopt_passed(load(env={"PORT": "1"}), [PORT]).bind == (FdBind(3),)


@pytest.mark.parametrize(
    ("bind", "passed", "adopted"),
    [
        ("127.0.0.1:80", PORT, (FdBind(3),)),
        ("localhost:80", PORT, (FdBind(3),)),
        ("fd://3", PORT, (FdBind(3),)),
        ("unix:/run/web.sock", PATH, (FdBind(4),)),
        ("unix:/run/../run/web.sock", PATH, (FdBind(4),)),
        ("[::]:80", ANY, (FdBind(3),)),
        ("0.0.0.0:80", ANY, (FdBind(3),)),  # ListenStream=80
        ("[::1]:80", Passed(3, "", "[::1]:80", v6only=True), (FdBind(3),)),
    ],
)
def test_a_bind_of_the_same_address_is_the_passed_socket(
    bind: str, passed: Passed, adopted: tuple[Bind, ...]
) -> None:
    assert adopt_passed(given(bind), [passed]).bind == adopted


def test_other_binds_are_bound_as_ever() -> None:
    settings = adopt_passed(given("127.0.0.1:81", "127.0.0.1:80", "unix:/x"), [PORT])
    assert settings.bind == (TcpBind("127.0.0.1", 81), FdBind(3), UnixBind("/x"))


@pytest.mark.parametrize(
    ("bind", "passed"),
    [
        ("127.0.0.1:81", PORT),
        ("127.0.0.2:80", PORT),
        ("0.0.0.0:80", PORT),
        ("0.0.0.0:80", Passed(3, "", "[::]:80", v6only=True)),
        ("127.0.0.1:80", ANY),
        ("fd://4", PORT),
        ("unix:/run/other.sock", PATH),
        ("no.such.host.invalid:80", PORT),
        ("127.0.0.1:80", PATH),
    ],
)
def test_a_socket_that_no_bind_names_is_an_error(bind: str, passed: Passed) -> None:
    with pytest.raises(RunError) as caught:
        adopt_passed(given(bind), [passed])
    assert str(caught.value) == (
        f"-b {bind}: systemd has passed {passed}, which is none of these; leave the bind out, or "
        "change ListenStream= in the socket unit"
    )
