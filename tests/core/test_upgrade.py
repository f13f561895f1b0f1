"""What two masters say to each other, and what they make of it."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.core.messages import PacketDecoder, ProtocolError
from balancer.core.upgrade import (
    PROTOCOL,
    Failed,
    HeirMessage,
    Hello,
    MasterMessage,
    Offer,
    Offered,
    Ready,
    Terms,
    Use,
    choose,
    refusal,
    workers_to_start,
)

encode = msgspec.msgpack.encode


@given(st.binary())
def test_garbage_is_one_error(packet: bytes) -> None:
    for union in (HeirMessage, MasterMessage):
        try:
            PacketDecoder(union)(packet)
        except ProtocolError:
            continue
    try:
        refusal(packet, "1.0")
    except ProtocolError:
        return


def test_what_a_newer_version_adds_is_ignored() -> None:
    hello = encode({"type": "Hello", "v": PROTOCOL, "version": "9", "moon": "full"})
    assert refusal(hello, "1.0") is None
    assert PacketDecoder[Hello](HeirMessage)(hello) == Hello(version="9")
    socket = {"number": 1, "use": "lane", "bind": "a", "colour": "red"}
    offer = encode({"type": "Offer", "sockets": [socket]})
    assert PacketDecoder[Offer](MasterMessage)(offer) == Offer(
        sockets=(Offered(number=1, use="lane", bind="a"),)
    )


def test_another_protocol_is_refused_with_a_sentence() -> None:
    reason = refusal(encode({"type": "Bonjour", "v": 7}), "1.2")
    assert reason == (
        "it speaks upgrade protocol 7, and this one (balancer 1.2) 1; restart the server instead"
    )


def test_a_failure_may_come_first() -> None:
    assert refusal(encode(Failed(reason="no")), "1.0") is None


@pytest.mark.parametrize("packet", [b"", b"\xc1", encode([]), encode({"v": "one"})])
def test_no_message_at_all(packet: bytes) -> None:
    with pytest.raises(ProtocolError):
        refusal(packet, "1.0")


def _lane(bind: str, index: int, place: int = 0) -> Offered:
    return Offered(number=10 * index + place, use=Use.LANE, bind=bind, index=index, place=place)


def test_binds_get_what_was_bound_for_them() -> None:
    shard = Offered(number=99, use=Use.SHARD, bind="b:1", index=1)
    offered = [_lane("b:1", 1), shard, _lane("a:1", 0, 1), _lane("a:1", 0, 0), _lane("c:1", 2)]
    found = choose(["new:1", "a:1", "b:1"], offered)
    assert {index: [each.number for each in some] for index, some in found.items()} == {
        1: [0, 1],
        2: [10],
    }


def test_the_same_bind_twice_gets_both_in_order() -> None:
    offered = [_lane("a:0", 0), _lane("b:1", 1), _lane("a:0", 2)]
    found = choose(["a:0", "a:0", "a:0"], offered)
    assert {index: [each.number for each in some] for index, some in found.items()} == {
        0: [0],
        1: [20],
    }


@given(
    st.lists(st.sampled_from("abc")), st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 3)))
)
def test_nothing_is_given_twice(binds: list[str], had: list[tuple[str, int]]) -> None:
    offered = [
        _lane(bind, index, place)
        for index, (bind, count) in enumerate(had)
        for place in range(count)
    ]
    found = choose(binds, offered)
    given_out = [each for some in found.values() for each in some]
    assert len({each.number for each in given_out}) == len(given_out)
    for index, some in found.items():
        assert {each.bind for each in some} == {binds[index]}
        assert len({each.index for each in some}) == 1
    for bind in "abc":  # as many as there are on both sides
        both = min(binds.count(bind), sum(one == bind for one, _ in had))
        assert sum(binds[index] == bind for index in found) == both


@pytest.mark.parametrize(
    ("configured", "workers", "scale", "wanted"),
    [(2, 2, 5, 5), (2, 2, 2, 2), (3, 2, 5, 3), (2, 0, 0, 2), (2, 2, 0, 2)],
)
def test_scaled_by_hand_stays_unless_it_is_configured_otherwise(
    configured: int, workers: int, scale: int, wanted: int
) -> None:
    assert workers_to_start(configured, Terms(workers=workers, scale=scale)) == wanted


def test_ready_says_what_is_taken() -> None:
    assert PacketDecoder[Ready](HeirMessage)(encode(Ready(taken=(1, 2)))).taken == (1, 2)
