"""TLS in memory: what the transport says of bytes, ends and failures, in pieces of any size."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, final

import pytest
import trio

from balancer.http1 import ClientGone
from balancer.upstream.tls import BATCH, RECORD, TlsTransport
from tests.http1.fakes import BYTEWISE, CUTS, WHOLE, MemoryTransport
from tests.support.certificates import server_context, target

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TLS_1_2, TLS_1_3 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
VERSIONS = (TLS_1_2, TLS_1_3)
LIMIT = 1 << 20

pytestmark = pytest.mark.parametrize("version", VERSIONS, ids=str)


@final
class Watched(MemoryTransport):
    """Tells its watcher, as an edge would."""

    watcher: Callable[[], None] | None = None

    def watch(self, watcher: Callable[[], None] | None) -> None:
        self.watcher = watcher

    def news(self) -> None:
        assert self.watcher is not None
        self.watcher()


@final
class Pair:
    """Our end, the carrier below it, and the server at the other end."""

    def __init__(
        self, folder: Path, version: ssl.TLSVersion, piece: int = WHOLE, *, hold: bool = False
    ) -> None:
        self.carrier = Watched(piece)
        self._to_server, self._from_server = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = server_context("localhost", highest=version)
        self.server = context.wrap_bio(self._to_server, self._from_server, server_side=True)
        self.expected = target(folder)
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        ours = self.expected.begin(incoming, outgoing)
        while not self._done(ours):
            self._to_server.write(outgoing.read())
            self._done(self.server)
            incoming.write(self._from_server.read())
        self._to_server.write(outgoing.read())
        assert self._done(self.server)
        self.tickets = self._from_server.read()
        if not hold:
            incoming.write(self.tickets)
        self.end = TlsTransport(self.carrier, ours, incoming, outgoing, self.expected.remember)
        assert self.end.recv_nowait(1) is None

    @staticmethod
    def _done(end: ssl.SSLObject) -> bool:
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True

    def say(self, data: bytes, size: int = WHOLE) -> None:
        """The server sends, in records of ``size``."""
        for start in range(0, len(data), size):
            self.server.write(data[start : start + size])
        self.carrier.feed(self._from_server.read())

    def say_bye(self) -> None:
        with pytest.raises(ssl.SSLWantReadError):
            self.server.unwrap()
        self.carrier.feed(self._from_server.read())

    def hear(self) -> bytes:
        """What the server reads of what the carrier took."""
        self._to_server.write(self.carrier.sent)
        self.carrier.sent = b""
        heard = b""
        while True:
            try:
                piece = self.server.read(RECORD)
            except ssl.SSLWantReadError:
                return heard
            if not piece:
                return heard + b"(end)"
            heard += piece

    async def read(self, limit: int = LIMIT) -> bytes:
        while (data := self.end.recv_nowait(limit)) is None:
            await self.end.wait_readable()
        return data

    async def read_size(self, size: int, limit: int = LIMIT) -> bytes:
        read = b""
        while len(read) < size:
            piece = await self.read(limit)
            assert 0 < len(piece) <= limit
            read += piece
        return read


@pytest.mark.parametrize("piece", CUTS)
@pytest.mark.parametrize("record", [WHOLE, 1])
@pytest.mark.parametrize("limit", [LIMIT, 1])
async def test_bytes_arrive_in_pieces_of_any_size(
    tmp_path: Path, version: ssl.TLSVersion, piece: int, record: int, limit: int
) -> None:
    pair = Pair(tmp_path, version, piece)
    said = bytes(range(256))
    pair.say(said, record)
    assert await pair.read_size(256, limit) == said
    assert pair.end.recv_nowait(limit) is None
    pair.say_bye()
    assert await pair.read() == b""
    assert await pair.read() == b""


async def test_what_was_fetched_makes_no_edge_and_needs_none(
    tmp_path: Path, version: ssl.TLSVersion
) -> None:
    pair = Pair(tmp_path, version)
    pair.say(b"x" * 300, 100)
    assert len(await pair.read(10)) == 10
    assert not pair.carrier.unread
    for left in (290, 190, 90):
        assert pair.end.stirred
        with trio.fail_after(1):
            await pair.end.wait_request()
            await pair.end.wait_readable()
        assert len(await pair.read(100)) == min(100, left)
    assert pair.end.recv_nowait(1) is None


async def test_an_end_without_a_word_is_a_broken_connection(
    tmp_path: Path, version: ssl.TLSVersion
) -> None:
    pair = Pair(tmp_path, version)
    pair.say(b"half")
    pair.carrier.feed_eof()
    assert await pair.read() == b"half"
    for _ in range(2):
        with pytest.raises(ClientGone, match="without TLS's word"):
            await pair.read()
    assert pair.end.stirred


async def test_a_forged_record_is_one_too(tmp_path: Path, version: ssl.TLSVersion) -> None:
    pair = Pair(tmp_path, version)
    pair.say(b"true")
    pair.carrier.feed(b"\x17\x03\x03\x00\x20" + bytes(32))
    assert await pair.read() == b"true"
    for _ in range(2):
        with pytest.raises(ClientGone, match="decryption failed or bad record mac"):
            await pair.read()
    assert pair.carrier.sent  # the alert


async def test_so_is_a_reset(tmp_path: Path, version: ssl.TLSVersion) -> None:
    pair = Pair(tmp_path, version)
    pair.carrier.reset()
    with pytest.raises(ClientGone):
        pair.end.recv_nowait(1)
    with pytest.raises(ClientGone):
        pair.end.send_nowait(b"x")
    assert pair.end.stirred


async def test_tickets_do_not_stir_a_connection(tmp_path: Path, version: ssl.TLSVersion) -> None:
    pair = Pair(tmp_path, version, hold=True)
    assert bool(pair.tickets) == (version is TLS_1_3)
    stirs: list[bool] = []
    pair.end.watch(lambda: stirs.append(True))
    pair.carrier.feed(pair.tickets)
    pair.carrier.news()
    assert (stirs, pair.end.stirred) == ([], False)
    pair.say(b"unasked")
    pair.carrier.news()
    assert len(stirs) == 1
    assert await pair.read(2) == b"un"
    assert await pair.read() == b"asked"
    assert not pair.end.has_bytes()
    pair.say_bye()
    pair.carrier.news()
    assert stirs == [True, True]
    assert pair.end.ended
    pair.end.watch(None)
    assert pair.carrier.watcher is None


@pytest.mark.parametrize("posted", [True, False])
@pytest.mark.parametrize("room", [1, 100, 20_000])
async def test_what_the_carrier_does_not_take_is_offered_again(
    tmp_path: Path, version: ssl.TLSVersion, room: int, posted: bool
) -> None:
    pair = Pair(tmp_path, version)
    data = bytes(range(250)) * (200 if room == 1 else 1000)
    rest = memoryview(data)
    pair.carrier.take(0)
    heard = b""
    if posted:
        assert pair.end.post_nowait(data[:1000]) == 0
    while rest:
        rest = rest[pair.end.send_nowait(rest) :]
        assert len(pair.end._unsent) <= BATCH + 1000
        pair.carrier.take(room * 50 if room == 1 else room)
        heard += pair.hear()
    assert heard == data
    pair.carrier.take(None)
    assert pair.end.post_nowait(b"more") == 4
    assert pair.hear() == b"more"


async def test_a_half_close_leaves_the_other_half(tmp_path: Path, version: ssl.TLSVersion) -> None:
    pair = Pair(tmp_path, version)
    pair.say(b"x" * 100)
    assert len(await pair.read(10)) == 10  # 90 are there, opened or not
    assert pair.end.send_last_nowait(b"last") == 4
    assert pair.carrier.half_closed
    assert pair.hear() == b"last(end)"
    pair.end.send_eof()
    pair.say(b"y" * 10)
    assert await pair.read_size(100) == b"x" * 90 + b"y" * 10
    with pytest.raises(ClientGone):
        pair.end.send_nowait(b"too late")


async def test_a_half_close_that_meets_half_a_record(
    tmp_path: Path, version: ssl.TLSVersion
) -> None:
    pair = Pair(tmp_path, version)
    pair.server.write(b"hello")
    record = pair._from_server.read()
    pair.carrier.feed(record[:9])
    assert pair.end.recv_nowait(LIMIT) is None
    pair.end.send_eof()
    pair.carrier.feed(record[9:])
    assert await pair.read() == b"hello"


async def test_an_end_that_has_to_wait_for_room(tmp_path: Path, version: ssl.TLSVersion) -> None:
    pair = Pair(tmp_path, version)
    pair.carrier.take(0)
    pair.end.send_eof()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pair.end.wait_posted)
        await trio.testing.wait_all_tasks_blocked()
        pair.end.interrupt()  # which is for the reader
        await trio.testing.wait_all_tasks_blocked()
        assert pair.hear() == b""
        pair.carrier.take(None)
    assert pair.carrier.half_closed
    assert pair.hear() == b"(end)"


async def test_a_close_says_so_even_where_there_is_no_room(
    tmp_path: Path, version: ssl.TLSVersion
) -> None:
    pair = Pair(tmp_path, version)
    pair.carrier.take(0)
    pair.end.send_eof()
    pair.end.close()
    assert pair.carrier.half_closed
    assert pair.carrier.closed
    pair.end.close()


async def test_an_abort(tmp_path: Path, version: ssl.TLSVersion) -> None:
    pair = Pair(tmp_path, version, BYTEWISE)
    pair.end.abort()
    assert pair.carrier.aborted
    assert not pair.carrier.half_closed


def test_the_addresses_are_the_carriers(tmp_path: Path, version: ssl.TLSVersion) -> None:
    pair = Pair(tmp_path, version)
    assert (pair.end.peer, pair.end.local) == (pair.carrier.peer, pair.carrier.local)
    assert pair.end.scheme == "https"
