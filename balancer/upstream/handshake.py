"""TLS with an upstream: whom to trust, and the handshake that finds out."""

from __future__ import annotations

import os
import ssl
from contextlib import suppress
from typing import TYPE_CHECKING, final

import trio

from balancer.core.retry import Failure
from balancer.errors import UsageError
from balancer.http1.errors import ClientGone
from balancer.http1.transport import receive, send_all
from balancer.upstream.connect import connect
from balancer.upstream.errors import UpstreamError
from balancer.upstream.tls import TlsTransport, words_of

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from balancer.http1.transport import Transport
    from balancer.upstream.connect import Address

__all__ = ["TlsTarget", "make_context", "open_transport"]

RECORDS_READ = 16896
FIRST = 5
"""Bytes of a record's header."""
RECORD_TYPES = {b"\x15", b"\x16"}
"""Alert and handshake (RFC 8446 5.1): what a server's first record can be."""

# X509_V_ERR_…, of OpenSSL's x509_vfy.h
REASONS = {
    9: "its certificate is not valid yet (or a clock is wrong)",
    10: "its certificate has expired",
    18: "its certificate is signed by itself alone, and --upstream-ca doesn't name it",
    19: "the authority of its certificate is not trusted; --upstream-ca can name it",
    20: "the authority of its certificate is not known; --upstream-ca can name it",
    21: "the authority of its certificate is not known; --upstream-ca can name it",
    23: "its certificate was revoked",
    26: "its certificate is not meant for servers",
}
OTHER_HOST = {62, 64}


def make_context(ca: str | None, *, verify: bool, where: str = "--upstream-ca") -> ssl.SSLContext:
    """What all connections to ``https://`` upstreams of a process share.

    TLS 1.2 and later, HTTP/1.1 by ALPN (RFC 7301), no renegotiation, which no server needs of a
    client that has no certificate.

    Args:
        ca: A file of certificates that are trusted, in PEM form; None: the system's authorities.
        verify: Whether certificates and hosts are checked at all.
        where: What names the file, for messages.

    Raises:
        UsageError: the file can't be read, or has no certificates; or the system has none.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    if ca is not None:  # a bad file is a mistake even where nobody asks it
        _trust_file(context, ca, where)
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif ca is None:
        context.load_default_certs()
        if not _has_authorities(context):
            raise UsageError(
                f"{where}: this system has no certificates of authorities; name a file with those "
                "that your https:// servers are trusted by"
            )
    return context


def _trust_file(context: ssl.SSLContext, ca: str, where: str) -> None:
    # who names a server's own certificate trusts it, whoever has signed it
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        context.load_verify_locations(cafile=ca)
    except ssl.SSLError:
        raise UsageError(
            f"{where} {ca}: this is no file of certificates; they must be in PEM form "
            "(-----BEGIN CERTIFICATE-----)"
        ) from None
    except OSError as error:
        raise UsageError(f"{where} {ca}: can't read it: {error.strerror}") from None


def _has_authorities(context: ssl.SSLContext) -> bool:
    folder = ssl.get_default_verify_paths().capath  # OpenSSL looks into it only when it verifies
    return bool(context.cert_store_stats()["x509"]) or bool(folder and os.listdir(folder))


@final
class TlsTarget:
    """Whom to expect behind an address, and the session that can be resumed with it.

    Args:
        context: What ``make_context`` has made.
        host: A name, which is sent (SNI, RFC 6066 3) and compared with the certificate's; or an IP
            address, which is only compared.
    """

    __slots__ = ("_session", "context", "host")

    def __init__(self, context: ssl.SSLContext, host: str) -> None:
        self.context = context
        # without the root's dot (RFC 6066 3), or an interface, which is ours alone (RFC 6874 4)
        self.host = host.removesuffix(".").partition("%")[0]
        self._session: ssl.SSLSession | None = None

    def begin(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO) -> ssl.SSLObject:
        """A TLS object before its handshake."""
        return self.context.wrap_bio(
            incoming, outgoing, server_hostname=self.host, session=self._session
        )

    def remember(self, session: ssl.SSLObject) -> None:
        """A connection has ended: by now it has the tickets that its server gives."""
        found = session.session
        if found is not None and found.has_ticket:
            self._session = found

    def forget(self) -> None:
        """A handshake has failed: the next one owes nothing to the past."""
        self._session = None


async def open_transport(
    address: Address,
    timeout: float,
    make: Callable[[socket.socket], Transport],
    target: TlsTarget | None = None,
) -> Transport:
    """Connect, and shake hands where TLS is wanted; the caller owns what is returned.

    Args:
        address: The family and what ``socket.connect`` takes.
        timeout: Seconds for all of it.
        make: Makes a transport of a connected socket, which it owns then.
        target: Whom to expect; None: no TLS.

    Raises:
        UpstreamError: CONNECT, and why: refused, late, or not who it should be.
    """
    end = trio.current_time() + timeout
    carrier = make(await connect(address, timeout))
    if target is None:
        return carrier
    secured: TlsTransport | None = None
    try:
        with trio.move_on_at(end):
            secured = await _shake_hands(carrier, target)
        if secured is None:
            raise _failed(f"no TLS handshake within {timeout:g} s")
    except UpstreamError:
        target.forget()
        raise
    finally:
        if secured is None:
            carrier.send_eof()
            carrier.close()
    return secured


async def _shake_hands(carrier: Transport, target: TlsTarget) -> TlsTransport:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = target.begin(incoming, outgoing)
    heard = b""
    try:
        while not _step(session, heard, carrier, outgoing):
            await send_all(carrier, outgoing.read())
            records = await receive(carrier, RECORDS_READ)
            if not records:
                raise _failed("it closed the connection in the TLS handshake")
            heard = heard or records
            incoming.write(records)
        await send_all(carrier, outgoing.read())
    except ClientGone as error:
        raise _failed(f"the connection broke in the TLS handshake: {error}") from None
    return TlsTransport(carrier, session, incoming, outgoing, target.remember)


def _step(
    session: ssl.SSLObject, heard: bytes, carrier: Transport, outgoing: ssl.MemoryBIO
) -> bool:
    """Whether the handshake is complete; else it waits for more."""
    try:
        session.do_handshake()
    except ssl.SSLWantReadError:
        if heard.startswith(b"HTTP/"):  # which is too short for a record
            raise _failed(_spoken(heard)) from None
        return False
    except ssl.SSLError as error:
        with suppress(ClientGone):  # the alert that says why, if it can still be said
            carrier.send_nowait(outgoing.read())
        raise _failed(_reason(error, heard, session.server_hostname)) from None
    return True


def _reason(error: ssl.SSLError, heard: bytes, host: str | None) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        if error.verify_code in OTHER_HOST:
            return f"its certificate is for another host than {host}"
        known = REASONS.get(error.verify_code)
        return known or f"its certificate can't be trusted: {error.verify_message}"
    if heard[:1] not in RECORD_TYPES:
        return _spoken(heard)
    return f"the TLS handshake failed: {words_of(error)}"


def _spoken(heard: bytes) -> str:
    if heard.startswith(b"HTTP/"):
        return "it speaks plain HTTP and no TLS: its upstream should begin with http://"
    return "it speaks no TLS"


def _failed(reason: str) -> UpstreamError:
    return UpstreamError(Failure.CONNECT, f"can't connect: {reason}")
