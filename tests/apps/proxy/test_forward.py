"""What an upstream is told of a request, and what a client can't make it believe."""

from __future__ import annotations

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.apps.proxy.forward import (
    Client,
    ForwardConfig,
    Forwarder,
    offer,
    spend_hop,
    trailer_lines,
)
from balancer.http1 import Http1Config, RequestError
from balancer.http1.heads import parse_head
from balancer.settings import TrustedPeers

NOBODY = ForwardConfig(TrustedPeers(()))
EVERYBODY = ForwardConfig(TrustedPeers(("*",)))
CLIENT = Client("192.0.2.7", "http", 8000)
OURS = {
    "x-forwarded-for": "192.0.2.7",
    "x-forwarded-proto": "http",
    "x-forwarded-host": "a",
    "x-forwarded-port": "8000",
    "forwarded": "for=192.0.2.7;host=a;proto=http",
    "via": "1.1 balancer",
}


def forward(
    *lines: str, config: ForwardConfig = NOBODY, client: Client = CLIENT, host: str = "Host: a"
) -> list[tuple[str, str]]:
    """The fields that go out for a request with these."""
    text = "\r\n".join(["GET / HTTP/1.1", host, *lines]) + "\r\n\r\n"
    head = parse_head(text.encode("latin-1"), Http1Config())
    assert head is not None
    block = Forwarder(client, config).fields(head).decode("latin-1")
    assert block.endswith("\r\n")
    fields = [line.partition(": ") for line in block[:-2].split("\r\n")]
    return [(name, value) for name, _, value in fields]


def test_a_plain_request() -> None:
    assert forward("Accept: */*") == [("host", "a"), ("accept", "*/*"), *OURS.items()]


@pytest.mark.parametrize(
    "lines",
    [
        ["Connection: keep-alive", "Keep-Alive: 5", "Proxy-Connection: close"],
        ["Connection: X, Y", "X: 1", "y: 2"],
        ["Connection: X", "Connection: Y", "X: 1", "Y: 2"],
        ["Proxy-Authorization: Basic YTpi", "Trailer: X", "TE: gzip"],
        ["Upgrade: h2c", "Connection: Upgrade, HTTP2-Settings", "HTTP2-Settings: AAMAAABk"],
        ["Content-Length: 0"],
    ],
)
def test_what_belongs_to_the_hop_stays_behind(lines: list[str]) -> None:
    assert forward(*lines) == [("host", "a"), *OURS.items()]


def test_a_nomination_takes_away_nothing_that_says_who_asks() -> None:
    said = dict(
        forward(
            "Connection: Host, Authorization, X-Forwarded-For, Cookie, Via, Forwarded",
            "Authorization: Basic YTpi",
            "Cookie: a=b",
        )
    )
    assert said == {"host": "a", "authorization": "Basic YTpi", "cookie": "a=b"} | OURS


@pytest.mark.parametrize(
    "line",
    [
        "X-Forwarded-For: 10.0.0.1", "X-Forwarded-Proto: https", "X-Forwarded-Host: evil",
        "X-Forwarded-Port: 1", "Forwarded: for=10.0.0.1", "X_Forwarded_For: 10.0.0.1",
        "X.Forwarded.For: 10.0.0.1", "x-forwarded_proto: https", "Content_Length: 5",
        "Transfer_Encoding: chunked", "X-Request_ID: a", "X-Request-ID: a",
    ],
)  # fmt: skip
def test_a_client_cant_say_who_it_is(line: str) -> None:
    assert forward(line) == [("host", "a"), *OURS.items()]


def test_other_names_with_an_underscore_pass() -> None:
    assert ("my_field", "1") in forward("My_Field: 1")


def test_a_trusted_proxy_can() -> None:
    said = dict(
        forward(
            "X-Forwarded-For: 10.0.0.1", "X-Forwarded-For: 10.0.0.2", "X-Forwarded-Proto: https",
            "X-Forwarded-Host: b", "X-Forwarded-Port: 443", "Forwarded: for=10.0.0.1",
            config=EVERYBODY,
        )
    )  # fmt: skip
    assert said["x-forwarded-for"] == "10.0.0.1, 10.0.0.2, 192.0.2.7"
    assert said["x-forwarded-proto"] == "https"
    assert (said["x-forwarded-host"], said["x-forwarded-port"]) == ("b", "443")
    assert said["forwarded"] == "for=10.0.0.1, for=192.0.2.7;host=a;proto=http"
    assert said["host"] == "a"


@pytest.mark.parametrize(
    ("client", "peer", "node"),
    [
        (Client("2001:db8::1", "https", 443), "2001:db8::1", 'for="[2001:db8::1]"'),
        (Client(None, "http", 0), "unix:", "for=unknown"),
    ],
)
def test_other_clients(client: Client, peer: str, node: str) -> None:
    said = dict(forward(client=client))
    assert said["x-forwarded-for"] == peer
    assert said["forwarded"].startswith(f"{node};")
    assert ("x-forwarded-port" in said) == bool(client.port)


def test_a_host_with_a_port_is_quoted_in_forwarded_only() -> None:
    said = dict(forward(host="Host: a.example:8000"))
    assert said["forwarded"] == 'for=192.0.2.7;host="a.example:8000";proto=http'
    assert said["x-forwarded-host"] == said["host"] == "a.example:8000"


def test_the_upstreams_host_can_be_set() -> None:
    said = dict(forward(config=ForwardConfig(TrustedPeers(()), host=b"inner")))
    assert (said["host"], said["x-forwarded-host"]) == ("inner", "a")


def test_a_client_of_http_1_0_without_a_host() -> None:
    head = parse_head(b"GET / HTTP/1.0\r\n\r\n", Http1Config())
    assert head is not None
    config = ForwardConfig(TrustedPeers(()), fallback=b"inner:80")
    assert Forwarder(CLIENT, config).fields(head).startswith(b"host: inner:80\r\n")


def test_via_is_appended_and_a_circle_is_seen() -> None:
    head = parse_head(b"GET / HTTP/1.1\r\nHost: a\r\nVia: 1.0 x, 1.1 y\r\n\r\n", Http1Config())
    old = parse_head(b"GET / HTTP/1.0\r\nHost: a\r\nVia: 1.0 x, 1.1 y\r\n\r\n", Http1Config())
    again = parse_head(b"GET / HTTP/1.1\r\nHost: a\r\nVia: 1.1 balancer\r\n\r\n", Http1Config())
    assert head is not None
    assert again is not None
    forwarder = Forwarder(CLIENT, NOBODY)
    assert b"via: 1.0 x, 1.1 y, 1.1 balancer\r\n" in forwarder.fields(head)
    assert not forwarder.looped
    assert old is not None
    assert b"via: 1.0 x, 1.1 y, 1.0 balancer\r\n" in forwarder.fields(old)
    forwarder.fields(again)
    assert forwarder.looped


@pytest.mark.parametrize(
    ("said", "goes_on"),
    [("5", "4"), ("10", "9"), ("1", "0"), ("0", None), ("many", "many"), ("-1", "-1")],
)
def test_a_hop_is_spent(said: str, goes_on: str | None) -> None:
    lines = b"host: a\r\nmax-forwards: %b\r\nx: y\r\n"
    wanted = None if goes_on is None else lines % goes_on.encode()
    assert spend_hop(lines % said.encode()) == wanted
    assert spend_hop(b"host: a\r\nx: max-forwards: 0\r\n") == b"host: a\r\nx: max-forwards: 0\r\n"


def test_trailers_are_accepted_for_those_behind_us() -> None:
    fields = forward("TE: trailers, gzip", "Connection: TE")
    assert ("te", "trailers") in fields
    assert ("connection", "te") in fields


@pytest.mark.parametrize(
    ("said", "offered"),
    [
        ([b"websocket"], b"websocket"),
        ([b"a/1,b", b"c"], b"a/1, b, c"),
        ([b"h2c"], b""),
        ([b"H2C, websocket,"], b"websocket"),
        ([b"HTTP/2.0, h2c/x, h2c: x, \xff"], b""),
        ([], b""),
    ],
)
def test_no_other_http_is_offered(said: list[bytes], offered: bytes) -> None:
    assert offer([(b"host", b"a"), *((b"upgrade", each) for each in said)]) == offered
    assert "http2-settings" not in dict(forward("HTTP2-Settings: AAAA"))


@pytest.mark.parametrize(
    "name",
    [
        b"content-length", b"transfer-encoding", b"host", b"connection", b"upgrade", b"expect",
        b"authorization", b"cookie", b"x-forwarded-for", b"x_forwarded_for", b"content_length",
        b"x-request-id", b"via", b"te", b"trailer", b"content-type",
    ],
)  # fmt: skip
def test_trailers_say_nothing_that_a_head_decides(name: bytes) -> None:
    assert trailer_lines([(b"x-sum", b"1"), (name, b"5")]) == b"x-sum: 1\r\n"


def test_the_same_block_is_written_once() -> None:
    forwarder = Forwarder(CLIENT, NOBODY)
    heads = [
        parse_head(b"GET /%d HTTP/1.1\r\nHost: a\r\nX: %b\r\n\r\n" % (n, x), Http1Config())
        for n, x in ((1, b"y"), (2, b"y"), (3, b"z"))
    ]
    first, second, third = (forwarder.fields(head) for head in heads if head is not None)
    assert first is second
    assert b"x: z\r\n" in third


NAMES = st.sampled_from([
    "Accept", "Connection", "TE", "Via", "X-Forwarded-For", "X_Forwarded_For", "Forwarded",
    "Cookie", "Upgrade", "Keep-Alive", "Transfer-Encoding", "Content-Length", "Expect", "Trailer",
    "a.b",
])  # fmt: skip
VALUES = st.sampled_from(["", "a", "close", "x, y", "host", "chunked", "5", "100-continue", "\xff"])


@given(st.lists(st.tuples(NAMES, VALUES), max_size=6), st.booleans())
def test_whatever_comes_in_goes_out_well_formed(
    fields: list[tuple[str, str]], trusted: bool
) -> None:
    """The outgoing head is one request to h11, without framing, and with one Host."""
    lines = [f"{name}: {value}" for name, value in fields]
    try:
        out = forward(*lines, config=EVERYBODY if trusted else NOBODY)
    except RequestError:
        return
    names = [name for name, _ in out]
    assert names.count("host") == names.count("x-forwarded-for") == names.count("via") == 1
    assert not {"transfer-encoding", "content-length", "upgrade", "keep-alive"} & set(names)
    lines = [f"{name}: {value}\r\n" for name, value in out]
    data = "GET / HTTP/1.1\r\n" + "".join(lines) + "\r\n"
    server = h11.Connection(h11.SERVER)
    server.receive_data(data.encode("latin-1"))
    assert isinstance(server.next_event(), h11.Request)
    assert isinstance(server.next_event(), h11.EndOfMessage)
