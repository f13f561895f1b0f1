"""A name server for one test, over UDP and TCP, on a port of its own."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, final

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import trio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["NameServer", "name_server"]


@final
class NameServer:
    """Answers by ``zone``: a name, without its last dot, has records "TTL TYPE VALUE".

    Attributes:
        zone: What there is; may be changed at any time.
        rcode: What is answered instead, if not None.
        silent: Kinds of records ("A", "AAAA") whose questions get no answer at all.
        limit: Bytes of a datagram.
        asked: The questions that there were, "NAME TYPE".
        port: Where it listens.
    """

    def __init__(self, sock: trio.socket.SocketType) -> None:
        self.zone: dict[str, list[str]] = {}
        self.rcode: dns.rcode.Rcode | None = None
        self.silent: set[str] = set()
        self.limit = 512
        self.asked: list[str] = []
        self.port: int = sock.getsockname()[1]
        self._sock = sock

    async def serve(self) -> None:
        while True:
            data, address = await self._sock.recvfrom(4096)
            answer = self._answer(data)
            if answer is not None:
                if len(wire := answer.to_wire()) > self.limit:
                    answer.answer.clear()
                    answer.flags |= dns.flags.TC
                    wire = answer.to_wire()
                await self._sock.sendto(wire, address)

    async def serve_stream(self, stream: trio.SocketStream) -> None:
        async with stream:
            size = int.from_bytes(await stream.receive_some(2), "big")
            answer = self._answer(await stream.receive_some(size))
            assert answer is not None
            wire = answer.to_wire()
            await stream.send_all(len(wire).to_bytes(2, "big") + wire)

    def _answer(self, data: bytes) -> dns.message.Message | None:
        query = dns.message.from_wire(data)
        (question,) = query.question
        name, kind = question.name.to_text(omit_final_dot=True), question.rdtype.name
        self.asked.append(f"{name} {kind}")
        if kind in self.silent:
            return None
        answer = dns.message.make_response(query)
        answer.flags |= dns.flags.RA
        if self.rcode is not None:
            answer.set_rcode(self.rcode)
        elif name not in self.zone:
            answer.set_rcode(dns.rcode.NXDOMAIN)
        else:
            self._fill(answer, name, kind)
        return answer

    def _fill(self, answer: dns.message.Message, name: str, kind: str) -> None:
        found: dict[tuple[int, str], list[str]] = {}
        for record in self.zone[name]:
            ttl, own, value = record.split()
            if own in {kind, "CNAME"}:
                found.setdefault((int(ttl), own), []).append(value)
            if own == "CNAME":
                self._fill(answer, value.removesuffix("."), kind)
        for (seconds, own), values in found.items():
            answer.answer.append(dns.rrset.from_text(f"{name}.", seconds, "IN", own, *values))


@asynccontextmanager
async def name_server() -> AsyncIterator[NameServer]:
    """One that runs."""
    with trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM) as sock:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = listeners[0].socket.getsockname()[1]
        await sock.bind(("127.0.0.1", port))
        server = NameServer(sock)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.serve)
            nursery.start_soon(trio.serve_listeners, server.serve_stream, listeners)
            yield server
            nursery.cancel_scope.cancel()
