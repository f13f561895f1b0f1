"""Parcels on a stream that is cut anywhere, with descriptors that come early or got lost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.core.messages import ProtocolError
from balancer.core.parcels import Batch, ParcelDecoder, encode_parcel

DATA = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


@given(
    parcels=st.lists(st.tuples(DATA, st.integers(0, 3), st.booleans()), max_size=6),
    cuts=st.lists(st.integers(1, 40)),
)
def test_every_parcel_gets_its_own_descriptors(
    parcels: list[tuple[object, int, bool]], cuts: list[int]
) -> None:
    stream = b""
    batches: dict[int, Batch] = {}  # by the offset of the byte that they come with
    for number, (data, fds, lost) in enumerate(parcels):
        if fds:
            made = Batch((), lost=True) if lost else Batch(tuple([number] * fds))
            batches[len(stream)] = made
        stream += encode_parcel(data, fds)
    decoder, heard, at = ParcelDecoder(), [], 0
    lengths = iter(cuts)
    while at < len(stream):
        end = min(at + next(lengths, 64), len(stream))
        # a recvmsg ends where the next piece with descriptors begins, once it has brought some
        inside = [offset for offset in batches if at <= offset < end]
        if len(inside) > 1:
            end = inside[1]
        batch = batches[inside[0]] if inside else None
        heard += decoder.feed(stream[at:end], batch)
        at = end
    assert [each.data for each in heard] == [data for data, _, _ in parcels]
    for number, ((_, fds, lost), parcel) in enumerate(zip(parcels, heard, strict=True)):
        assert parcel.batch.lost == (lost and fds > 0)
        assert parcel.batch.fds == (() if lost else (number,) * fds)
    assert decoder.leftovers() == []


@given(st.binary(max_size=200))
def test_garbage_is_a_parcel_or_a_protocol_error(data: bytes) -> None:
    decoder = ParcelDecoder()
    try:
        decoder.feed(data, Batch((3, 4)))
    except ProtocolError:
        assert set(decoder.leftovers()) <= {3, 4}


def test_a_parcel_without_its_descriptors_is_a_protocol_error() -> None:
    with pytest.raises(ProtocolError, match="should have 2 descriptors"):
        ParcelDecoder().feed(encode_parcel(1, 2))
    decoder = ParcelDecoder()
    with pytest.raises(ProtocolError):
        decoder.feed(encode_parcel(1, 2), Batch((7,)))
    assert decoder.leftovers() == [7]
