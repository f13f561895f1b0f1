"""What a new master gets from the old one, over a real pair."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from balancer import __version__
from balancer.core.messages import PacketDecoder
from balancer.core.upgrade import (
    Cancelled,
    Failed,
    HeirMessage,
    Hello,
    Offer,
    Offered,
    Refused,
    Terms,
    Use,
    Yours,
)
from balancer.errors import RunError
from balancer.net import upgrade
from balancer.net.packets import packet_pair, recv_packet, send_packet
from balancer.net.upgrade import VARIABLE, claim, report_failure

if TYPE_CHECKING:
    from collections.abc import Iterator

encode = msgspec.msgpack.encode
decode: PacketDecoder[object] = PacketDecoder(HeirMessage)


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upgrade, "PATIENCE", 0.05)


@pytest.fixture
def old() -> Iterator[tuple[socket.socket, dict[str, str]]]:
    """The old master's end, and the environment of the new one."""
    near, far = packet_pair()
    with near:
        yield near, {VARIABLE: str(far.detach()), "HOME": "/"}


def test_sockets_and_terms_are_received(old: tuple[socket.socket, dict[str, str]]) -> None:
    near, environ = old
    with socket.create_server(("127.0.0.1", 0)) as listener:
        offered = Offered(number=5, use=Use.LANE, bind="127.0.0.1:0")
        send_packet(near, encode(Offer(sockets=(offered,))), [listener.fileno()])
        send_packet(near, encode(Terms(workers=2, next_id=9)))
        heritage = claim(environ)
        assert heritage is not None
        assert environ == {"HOME": "/"}
        assert decode(recv_packet(near)[0]) == Hello(version=__version__)
        assert heritage.predecessor == os.getpid()
        assert heritage.terms == Terms(workers=2, next_id=9)
        assert heritage.offered == [offered]
        with heritage.take(5) as same:
            assert same.getsockname() == listener.getsockname()
            assert not same.get_inheritable()
        assert heritage.offered == []
    heritage.close()
    heritage.link.close()


def test_nobody_there() -> None:
    assert claim({"HOME": "/"}) is None
    report_failure({}, "for nobody")


@pytest.mark.parametrize("value", ["", "x", "-1", "999999", "0", str(2**70)])
def test_a_variable_that_somebody_else_has_set(value: str) -> None:
    environ = {VARIABLE: value}
    with pytest.raises(RunError, match=f"^{VARIABLE}={value}: is set by `balancer upgrade`"):
        claim(environ)
    assert environ == {}
    report_failure({VARIABLE: value}, "for nobody")
    os.fstat(0)  # standard input is still there


@pytest.mark.parametrize(
    ("packet", "why"),
    [
        (encode(Refused(reason="too old")), "the old master goes on: too old"),
        (encode(Cancelled(reason="it stops")), "the old master goes on: it stops"),
        (encode(Yours()), "says what makes no sense here"),
        (encode(Offer(sockets=(Offered(number=1, use="lane", bind="a"),))), "makes no sense here"),
        (b"\xc1", "is no message"),
        (None, "doesn't say what it has to pass"),
    ],
)
def test_no_heritage(
    packet: bytes | None, why: str, old: tuple[socket.socket, dict[str, str]]
) -> None:
    near, environ = old
    if packet is not None:
        send_packet(near, packet)
    with pytest.raises(RunError, match=why):
        claim(environ)
    recv_packet(near)
    failed = decode(recv_packet(near)[0])
    assert isinstance(failed, Failed)
    assert why in failed.reason


def test_the_old_master_has_gone(old: tuple[socket.socket, dict[str, str]]) -> None:
    near, environ = old
    near.close()
    with pytest.raises(RunError, match="has gone before it passed its sockets"):
        claim(environ)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(st.binary(min_size=1, max_size=200))
def test_garbage_is_one_error(packet: bytes) -> None:
    near, far = packet_pair()
    with near:
        send_packet(near, packet)
        with pytest.raises(RunError):
            claim({VARIABLE: str(far.detach())})


def test_a_failure_before_that_is_told(old: tuple[socket.socket, dict[str, str]]) -> None:
    near, environ = old
    report_failure(environ, "-w many: must be a number")
    assert decode(recv_packet(near)[0]) == Failed(reason="-w many: must be a number")
    assert recv_packet(near) == (b"", [])
    assert VARIABLE not in environ


def test_what_systemd_said_to_the_old_master_holds() -> None:
    environ = {"LISTEN_PID": "5", "WATCHDOG_PID": "6"}
    upgrade._rename(environ, 5)
    assert environ == {"LISTEN_PID": str(os.getpid()), "WATCHDOG_PID": "6"}
