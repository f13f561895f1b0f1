"""TLS over another transport, which carries its records.

The engine's side is that of any transport: bytes that are there now, or a wait.  The records go
through two memory BIOs (``ssl.MemoryBIO``), so the socket, its waits and its parking stay those of
the transport below.  Three things differ from a plain one:

* What has come and what can be read are two things.  The kernel makes no edge for records that
  were fetched already, so ``_more`` remembers that a read stopped at its limit, and then no wait
  waits.  The other way round, records may hold nothing for us: a server sends tickets behind the
  handshake (RFC 8446 4.6.1), perhaps to a connection that is idle.  So whoever asks whether
  something has ``stirred`` makes us open what came.
* A send that the kernel does not take is kept as records, at most ``BATCH`` bytes of data, and
  those bytes are *not* reported as taken: the caller offers them again, as with SSL_write(3), and
  is told when the records have left.  So the kernel's pace is the caller's, and nobody has to
  follow up.
* An end is an end only when the peer has said so (close_notify, RFC 8446 6.1).  One without it is
  what anybody on the way can forge, and is a broken connection here.

Renegotiation is off (``handshake.make_context``), so a send never waits for something to read.
What a read gives us to say (a key update, an alert) is sent with it, or before the next send.
"""

from __future__ import annotations

import ssl
from contextlib import suppress
from typing import TYPE_CHECKING, final

import trio

from balancer.http1.errors import ClientGone

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from balancer.http1.transport import Address, Transport

__all__ = ["TlsTransport", "words_of"]

RECORD = 16384
"""Bytes of data in a record, at most (RFC 8446 5.1)."""
OVERHEAD = 512
"""More than a record adds to its data: then a read of one record's size fetches a whole one."""
BATCH = 4 * RECORD
"""Bytes that are encrypted for one send, and so what is kept if the kernel takes nothing."""


@final
class TlsTransport:
    """A client's end of TLS after its handshake; owns the transport below.

    Args:
        carrier: Carries the records.
        session: The TLS object, whose handshake is complete.
        incoming: Where it reads records.
        outgoing: Where it writes them.
        remember: Called at the close with the TLS object: its session may be resumed.
    """

    __slots__ = (
        "_broken",
        "_carrier",
        "_early",
        "_ending",
        "_incoming",
        "_more",
        "_outgoing",
        "_over",
        "_owed",
        "_remember",
        "_ssl",
        "_unsent",
        "_watcher",
    )

    scheme = "https"

    def __init__(
        self,
        carrier: Transport,
        session: ssl.SSLObject,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        remember: Callable[[ssl.SSLObject], None] | None = None,
    ) -> None:
        self._carrier = carrier
        self._ssl = session
        self._incoming = incoming
        self._outgoing = outgoing
        self._remember = remember
        self._early = b""
        """Opened before anybody wanted to read it."""
        self._more = incoming.pending > 0
        """There may be more to read without news from the carrier."""
        self._over = False
        """The peer has said that it sends nothing more."""
        self._broken = ""
        """Why nothing can be read any more."""
        self._unsent = b""
        """Records that the carrier has not taken."""
        self._owed = 0
        """Bytes of data in them: the next send begins with the same."""
        self._ending = False
        self._watcher: Callable[[], None] | None = None

    @property
    def peer(self) -> Address:
        return self._carrier.peer

    @property
    def local(self) -> Address:
        return self._carrier.local

    # -- reading ------------------------------------------------------------------------------

    def recv_nowait(self, limit: int) -> bytes | None:
        if self._early:
            data, self._early = self._early[:limit], self._early[limit:]
            return data
        found = self._open(limit) if self._more else None
        if found is None and self._fetch(limit + OVERHEAD):
            found = self._open(limit)
        return found

    def _fetch(self, limit: int) -> bool:
        """Whether something has come from the carrier, be it the end."""
        try:
            records = self._carrier.recv_nowait(limit)
        except ClientGone as error:
            raise self._fail(str(error)) from None
        if records is None:
            return False
        if records:
            self._incoming.write(records)
        else:
            self._incoming.write_eof()
        self._more = True
        return True

    def _open(self, limit: int) -> bytes | None:
        """What is in the records that have come: as ``recv_nowait``."""
        pieces: list[bytes] = []
        incoming, session = self._incoming, self._ssl
        left = limit
        while left > 0 and not self._over and not self._broken:
            if pieces and not incoming.pending and not session.pending() and not incoming.eof:
                self._more = False  # as the exception would say, which costs more
                break
            try:
                piece = session.read(min(left, RECORD))
            except ssl.SSLWantReadError:
                self._more = False
                break
            except ssl.SSLZeroReturnError:
                piece = b""
            except ssl.SSLError as error:
                self._fail(_trouble(error))
                break
            if piece:
                pieces.append(piece)
                left -= len(piece)
            else:
                self._over = True
        if self._outgoing.pending:
            self._reply()
        if pieces:
            return pieces[0] if len(pieces) == 1 else b"".join(pieces)
        if self._broken:
            raise ClientGone(self._broken)
        return b"" if self._over else None

    def _reply(self) -> None:
        """Say what a read has made us say; a connection that can't is the next send's matter."""
        with suppress(ClientGone):
            if not self._flush() and len(self._unsent) > 2 * BATCH:
                self._fail("it makes us say more than it takes")

    def _fail(self, reason: str) -> ClientGone:
        self._broken = self._broken or reason
        self._more = True
        return ClientGone(self._broken)

    def wait_readable(self) -> Awaitable[None]:
        if self._more or self._early:
            return trio.lowlevel.checkpoint()  # noqa: ASYNC105 - a frame less
        return self._carrier.wait_readable()

    def wait_request(self) -> Awaitable[None]:
        if self._more or self._early:
            return _at_once()
        return self._carrier.wait_request()

    def watch(self, watcher: Callable[[], None] | None) -> None:
        self._watcher = watcher
        self._carrier.watch(None if watcher is None else self._news)

    def _news(self) -> None:
        if self.stirred and self._watcher is not None:
            self._watcher()

    @property
    def stirred(self) -> bool:
        """Bytes or the end have come; what is there is opened, for it may be tickets alone."""
        if self._more or self._early:
            return True
        return self._carrier.stirred and self._look()

    def _look(self) -> bool:
        try:
            found = self.recv_nowait(RECORD)
        except ClientGone:
            return True
        if found is None:  # nobody has to talk so much that one read does not fetch it all
            return self._carrier.stirred
        self._early = found
        return True

    @property
    def ended(self) -> bool:
        return self._over or self._carrier.ended

    def has_bytes(self) -> bool:
        if not self._early:
            with suppress(ClientGone):
                self._early = self.recv_nowait(RECORD) or b""
        return bool(self._early)

    # -- sending ------------------------------------------------------------------------------

    def send_nowait(self, data: bytes | memoryview) -> int:
        """As in ``Transport``; what was not taken has to be offered again, unchanged."""
        taken = 0
        while self._flush():
            taken += self._owed
            self._owed = 0
            if taken >= len(data):
                break
            self._seal(data[taken : taken + BATCH])
        return taken

    def post_nowait(self, data: bytes) -> int:
        if self._owed or len(data) > BATCH or not self._flush():
            return self.send_nowait(data)
        self._seal(data)
        records = self._outgoing.read()
        sent = self._carrier.post_nowait(records)
        if sent < len(records):
            self._unsent = records[sent:]
            return 0
        self._owed = 0
        return len(data)

    def send_last_nowait(self, data: bytes) -> int:
        sent = self.send_nowait(data)
        if sent == len(data):
            self.send_eof()
        return sent

    def _seal(self, data: bytes | memoryview) -> None:
        done = 0
        try:
            while done < len(data):
                done += self._ssl.write(data[done:])
        except ssl.SSLError as error:
            raise ClientGone(_trouble(error)) from None
        self._owed = done

    def _flush(self) -> bool:
        """Whether the carrier has taken all records."""
        if self._outgoing.pending:
            self._unsent += self._outgoing.read()
        if self._unsent:
            sent = self._carrier.send_nowait(self._unsent)
            self._unsent = self._unsent[sent:]
        return not self._unsent

    def wait_writable(self) -> Awaitable[None]:
        return self._carrier.wait_writable()

    async def wait_posted(self) -> None:
        """Return when the carrier has everything, our end included."""
        with suppress(ClientGone):
            while not self._flush():
                # the reader is interrupted, and not this
                with suppress(trio.ClosedResourceError):
                    await self._carrier.wait_writable()
        if self._ending:
            self._carrier.send_eof()
        await self._carrier.wait_posted()

    # -- ending -------------------------------------------------------------------------------

    def interrupt(self) -> None:
        self._carrier.interrupt()

    def send_eof(self) -> None:
        """Say close_notify, and half-close; ``wait_posted`` waits until it has left."""
        if self._ending:
            return
        self._ending = True
        with suppress(ClientGone, ssl.SSLError):  # WANT_READ: the peer has not said it yet
            self._open_all()
            self._ssl.unwrap()
        with suppress(ClientGone):
            self._unsent += self._outgoing.read()
            sent = self._carrier.send_last_nowait(self._unsent)
            self._unsent = self._unsent[sent:]

    def _open_all(self) -> None:
        # SSL_shutdown looks for the peer's close_notify, and where it meets data instead, all reads
        # fail from then on ("application data after close notify")
        while self._more and (piece := self._open(BATCH)):
            self._early += piece

    def close(self) -> None:
        if self._remember is not None:
            remember, self._remember = self._remember, None
            remember(self._ssl)
        if self._ending:
            self._carrier.send_eof()  # even if close_notify was not taken
        self._carrier.close()

    def abort(self) -> None:
        self._carrier.abort()


async def _at_once() -> None:
    """There is nothing to wait for."""


def _trouble(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLEOFError):
        return "its end came without TLS's word for it: something may be missing"
    return f"TLS failed: {words_of(error)}"


def words_of(error: ssl.SSLError) -> str:
    """OpenSSL's reason, without the place in its source: ``sslv3 alert handshake failure``."""
    return (error.reason or "").replace("_", " ").lower() or "for no reason that OpenSSL gives"
