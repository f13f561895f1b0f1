"""An authority for tests, and what a server shows that it has certified."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING

import trustme

from balancer.upstream.handshake import TlsTarget, make_context

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["authority", "self_signed", "server_context", "target", "trust"]


@cache
def authority(name: str) -> trustme.CA:
    """One authority for each name."""
    return trustme.CA(organization_name=name)


@cache
def server_context(
    *hosts: str, ca: str = "ours", days: int = 30, highest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
) -> ssl.SSLContext:
    """A server for ``hosts``, whose certificate is valid for so many days, or was until then."""
    now = datetime.now(UTC)
    begin, end = sorted((now - timedelta(days=1), now + timedelta(days=days)))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.maximum_version = highest
    authority(ca).issue_cert(*hosts, not_before=begin, not_after=end).configure_cert(context)
    return context


@cache
def self_signed(*, highest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> ssl.SSLContext:
    """A server that shows an authority's own certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.maximum_version = highest
    itself = authority("itself")
    both = trustme.Blob(itself.private_key_pem.bytes() + itself.cert_pem.bytes())
    with both.tempfile() as path:
        context.load_cert_chain(path)
    return context


def trust(folder: Path, ca: str = "ours") -> str:
    """A file that names the authority."""
    path = folder / f"{ca}.pem"
    authority(ca).cert_pem.write_to_path(str(path))
    return str(path)


def target(folder: Path, host: str = "localhost", *, verify: bool = True) -> TlsTarget:
    """A client that trusts the authority, and expects ``host``."""
    return TlsTarget(make_context(trust(folder), verify=verify), host)
