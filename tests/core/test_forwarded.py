"""Who the client is, behind proxies that are trusted and among those that are not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.core.forwarded import Origin, read_forwarded
from balancer.settings import TrustedPeers

TRUSTED = TrustedPeers(["10.0.0.0/8", "::1", "unix:"])
FOR, PROTO, STANDARD = b"x-forwarded-for", b"x-forwarded-proto", b"forwarded"
NOTHING = Origin(None, None)


@pytest.mark.parametrize(
    ("headers", "client", "scheme"),
    [
        ([], None, None),
        ([(FOR, b"1.2.3.4")], ("1.2.3.4", 0), None),
        ([(FOR, b"1.2.3.4:567")], ("1.2.3.4", 567), None),
        ([(FOR, b"2001:db8::1")], ("2001:db8::1", 0), None),
        ([(FOR, b"6.6.6.6, 2001:db8::1, ::1")], ("2001:db8::1", 0), None),
        ([(FOR, b"1.2.3.4:70000")], ("1.2.3.4", 0), None),
        ([(FOR, b"[2001:db8::1]:80")], ("2001:db8::1", 80), None),
        ([(FOR, b"[2001:db8::1]")], ("2001:db8::1", 0), None),
        # from the right, up to the first that isn't trusted; what is left of it is invented
        ([(FOR, b"6.6.6.6, 1.2.3.4, 10.0.0.9")], ("1.2.3.4", 0), None),
        ([(FOR, b"6.6.6.6, 1.2.3.4"), (FOR, b"10.0.0.9")], ("1.2.3.4", 0), None),
        ([(FOR, b"10.0.0.8, 10.0.0.9")], ("10.0.0.8", 0), None),
        ([(FOR, b"unknown")], ("unknown", 0), None),
        ([(FOR, b" , ")], None, None),
        ([(PROTO, b"https")], None, "https"),
        ([(PROTO, b"HTTPS")], None, "https"),
        ([(PROTO, b"wss")], None, "https"),
        ([(PROTO, b"gopher")], None, None),
        ([(FOR, b"1.2.3.4"), (PROTO, b"https")], ("1.2.3.4", 0), "https"),
        # one scheme for each hop: that of the hop which saw the client
        ([(FOR, b"6.6.6.6, 1.2.3.4, 10.0.0.9"), (PROTO, b"http, https, http")],
         ("1.2.3.4", 0), "https"),
        ([(FOR, b"1.2.3.4, 10.0.0.9"), (PROTO, b"https")], ("1.2.3.4", 0), "https"),
        ([(STANDARD, b"for=1.2.3.4;proto=https;by=10.0.0.1")], ("1.2.3.4", 0), "https"),
        ([(STANDARD, b'For="[2001:db8:cafe::17]:4711"')], ("2001:db8:cafe::17", 4711), None),
        ([(STANDARD, b'for=6.6.6.6, for="1.2.3.4"; Proto="https" , for=10.0.0.9')],
         ("1.2.3.4", 0), "https"),
        ([(STANDARD, b'for=_hidden;secret="a,b;c\\"d"')], ("_hidden", 0), None),
        ([(STANDARD, b"nonsense")], None, None),
        # a proxy that speaks one kind passes the client's other kind on
        ([(FOR, b"1.2.3.4"), (STANDARD, b"for=6.6.6.6;proto=https")], ("1.2.3.4", 0), None),
    ],
)  # fmt: skip
def test_what_a_trusted_peer_says(
    headers: list[tuple[bytes, bytes]], client: tuple[str, int] | None, scheme: str | None
) -> None:
    assert read_forwarded(headers, "10.0.0.1", TRUSTED) == Origin(client, scheme)


@pytest.mark.parametrize("peer", ["1.2.3.4", "2001:db8::1", "not an address"])
def test_what_anybody_else_says(peer: str) -> None:
    headers = [(FOR, b"9.9.9.9"), (PROTO, b"https"), (STANDARD, b"for=9.9.9.9")]
    assert read_forwarded(headers, peer, TRUSTED) == NOTHING


@pytest.mark.parametrize("peer", ["10.9.9.9", "::1", "::ffff:10.0.0.1", None, "fe80::1%eth0"])
def test_who_is_trusted(peer: str | None) -> None:
    assert (peer in TRUSTED) is (peer != "fe80::1%eth0")


def test_everybody() -> None:
    everybody = TrustedPeers(["*"])
    assert "anybody" in everybody
    assert None in everybody
    assert "127.0.0.1" not in TrustedPeers([])


@given(st.lists(st.tuples(st.sampled_from([FOR, PROTO, STANDARD]), st.binary(max_size=60))))
def test_no_nonsense_raises_or_is_taken_for_a_scheme(headers: list[tuple[bytes, bytes]]) -> None:
    client, scheme = read_forwarded(headers, "10.0.0.1", TRUSTED)
    assert scheme in {None, "http", "https"}
    assert client is None or 0 <= client[1] <= 65535
