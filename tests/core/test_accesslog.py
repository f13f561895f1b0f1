"""Lines: every atom, every byte a client may send, and what stands where nothing is known."""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.core.accesslog import Constants, Stamp, make_renderer
from balancer.core.logrecord import ABORTED, KEPT, PlainAnswer, PlainRequest, Record
from balancer.core.requestid import RequestIds
from balancer.http1.config import Http1Config
from balancer.http1.errors import RequestError
from balancer.http1.heads import parse_head
from balancer.settings.logformat import DEFAULT_FORMAT, WORDS, Atom, parse_log_format

if TYPE_CHECKING:
    from balancer.core.logrecord import Request

ENVIRON = {"HOSTNAME": "web-1", "Quote": 'a"b'}
HEAD = (
    b"GET /caf%C3%A9/x?a=1&b=2 HTTP/1.1\r\nHost: example.com\r\nUser-Agent: curl/8\r\n"
    b"Referer: http://a/\r\nX-Twice: one\r\nX-Twice:  two \r\nContent-Type: text/x\r\n"
    b"Authorization: Basic " + base64.b64encode(b"bob:secret") + b"\r\n"
    b"X-Forwarded-For: 198.51.100.7\r\nX-Request-ID: from-proxy\r\nX-Empty:\r\n\r\n"
)
SENT = (
    b"HTTP/1.1 200 OK\r\nDate: now\r\nContent-Type: text/plain\r\nX-Cache: a\r\nX-CACHE: b\r\n\r\n"
)


def head(data: bytes = HEAD, *, parsed: bool = False) -> Request:
    """What the engine makes of a head; ``parsed``: the app has looked at its fields."""
    found = parse_head(data, Http1Config())
    assert found is not None
    if parsed:
        assert found.headers
    return found


def plain() -> Request:
    """The same request, as another server has it."""
    fields = list(parse_head(HEAD, Http1Config()).headers)  # type: ignore[union-attr]
    return PlainRequest("GET", b"/caf%C3%A9/x?a=1&b=2", "1.1", fields)


def stamp(ended: float) -> Stamp:
    return Stamp(f"[{int(ended)}]", float(int(ended)), int(ended) + 1.0)


def constants() -> Constants:
    trusted = frozenset({"10.0.0.1"})
    return Constants(77, 3, ENVIRON, trusted, RequestIds("ours-", trusted), stamp)


def record(
    request: Request | None = None,
    status: int = 200,
    *,
    seconds: float = 1.234567,
    peer: tuple[str, int] | str | None = ("10.0.0.1", 4711),
    request_id: str = "",
    end: str = KEPT,
) -> Record:
    answer = PlainAnswer(status, 1234, request_id, SENT)
    return Record(request, answer, seconds, 5.5, peer, end)


def line(text: str, *records: Record) -> str:
    """The lines of a format, without the last newline."""
    render = make_renderer(text, constants())
    data = render(records).decode("ascii")
    assert data.endswith("\n")
    return data[:-1]


# atom: gunicorn's line for the request above
KNOWN = {
    "h": "10.0.0.1",
    "l": "-",
    "u": "bob",
    "t": "[5]",
    "r": "GET /caf%C3%A9/x?a=1&b=2 HTTP/1.1",
    "m": "GET",
    "U": r"/caf\xc3\xa9/x",
    "q": "a=1&b=2",
    "H": "HTTP/1.1",
    "s": "200",
    "B": "1234",
    "b": "1234",
    "f": "http://a/",
    "a": "curl/8",
    "T": "1",
    "M": "1234",
    "D": "1234567",
    "L": "1.234567",
    "p": "<77>",
    "X": "+",
    "id": "from-proxy",
    "worker": "3",
    "client": "198.51.100.7",
    "upstream": "-",
    "upstream_L": "-",
    "{host}i": "example.com",
    "{User-Agent}i": "curl/8",
    "{x-twice}i": "two",
    "{x-empty}i": "",
    "{x-missing}i": "-",
    "{content-type}o": "text/plain",
    "{X-Cache}o": "b",
    "{x-missing}o": "-",
    "{request_method}e": "GET",
    "{raw_uri}e": "/caf%C3%A9/x?a=1&b=2",
    "{request_uri}e": "/caf%C3%A9/x?a=1&b=2",
    "{path_info}e": r"/caf\xc3\xa9/x",
    "{query_string}e": "a=1&b=2",
    "{server_protocol}e": "HTTP/1.1",
    "{remote_addr}e": "10.0.0.1",
    "{remote_port}e": "4711",
    "{http_user_agent}e": "curl/8",
    "{content_type}e": "text/x",
    "{content_length}e": "-",
    "{hostname}e": "web-1",
    "{quote}e": r"a\"b",
    "{nobody}e": "-",
}
# the same where a request was refused before it was understood, as far as that differs
REFUSED = {
    atom: "-"
    for atom in KNOWN
    if atom.endswith(("i", "e")) and atom not in {"{hostname}e", "{quote}e", "{nobody}e"}
} | dict.fromkeys("urmUqHfa", "-") | {
    "id": "ours-1", "client": "10.0.0.1", "{remote_addr}e": "10.0.0.1", "{remote_port}e": "4711",
}  # fmt: skip


def test_the_table_here_is_complete() -> None:
    assert set(WORDS) <= set(KNOWN)


@pytest.mark.parametrize("atom", KNOWN)
def test_atoms(atom: str) -> None:
    text = f"<%({atom})s>"
    assert line(text, record(head())) == f"<{KNOWN[atom]}>"
    assert line(text, record(head(parsed=True))) == f"<{KNOWN[atom]}>"
    assert line(text, record(plain())) == f"<{KNOWN[atom]}>"


@pytest.mark.parametrize("atom", KNOWN)
def test_atoms_of_a_refused_request(atom: str) -> None:
    assert line(f"<%({atom})s>", record()) == f"<{REFUSED.get(atom, KNOWN[atom])}>"


def test_the_default_is_the_combined_format() -> None:
    expected = (
        '10.0.0.1 - bob [5] "GET /caf%C3%A9/x?a=1&b=2 HTTP/1.1" 200 1234 "http://a/" "curl/8"'
    )
    assert line(DEFAULT_FORMAT, record(head())) == expected
    assert line(DEFAULT_FORMAT, record(None, 400)) == '10.0.0.1 - - [5] "-" 400 1234 "-" "-"'


def test_no_response_at_all() -> None:
    nothing = record(head(), 0, end=ABORTED)
    assert line("%(s)s %(b)s %(X)s", nothing) == "- - X"


@pytest.mark.parametrize("peer", [None, "/run/client.sock"])
def test_peers_without_an_address(peer: str | None) -> None:
    atoms = "%(h)s %({remote_port}e)s %(client)s"
    assert line(atoms, record(head(), peer=peer)) == "- - -"


def test_who_is_not_trusted_names_nobody() -> None:
    stranger = record(head(), peer=("203.0.113.5", 1))
    assert line("%(client)s %(id)s", stranger) == "203.0.113.5 ours-1"


def test_an_id_that_was_asked_for_is_kept() -> None:
    assert line("%(id)s", record(head(), request_id="asked-9")) == "asked-9"


def test_the_time_is_asked_for_once_a_second() -> None:
    asked: list[float] = []

    def counting(ended: float) -> Stamp:
        asked.append(ended)
        return stamp(ended)

    render = make_renderer("%(t)s", constants()._replace(stamp=counting))
    ends = [5.0, 5.999, 6.0, 6.5, 5.9, 8.0]
    lines = render([record(head())._replace(ended=each) for each in ends])
    assert lines == b"[5]\n[5]\n[6]\n[6]\n[5]\n[8]\n"
    assert asked == [0.0, 5.0, 6.0, 5.9, 8.0]


def test_durations_are_cut_not_rounded() -> None:
    short = record(head(), seconds=0.9999999)
    assert line("%(T)s %(M)s %(D)s %(L)s", short) == "0 999 999999 0.999999"
    assert line("%(T)d %(M)d %(D)d %(B)d %(s)d", short) == "0 999 999999 1234 200"


@pytest.mark.parametrize(
    ("header", "user"),
    [
        (b"Basic " + base64.b64encode(b"a b:x"), r"a\x20b"),
        (b"basic " + base64.b64encode(b'"\n:x'), r"\"\n"),
        (b"Basic " + base64.b64encode(b":x"), "-"),
        (b"Basic " + base64.b64encode(b"no colon"), "-"),
        (b"Basic x", "-"),
        (b"Basic \xff", "-"),
        (b"Bearer eyJ", "-"),
    ],
)
def test_users(header: bytes, user: str) -> None:
    request = PlainRequest("GET", b"/", "1.1", [(b"authorization", header)])
    assert line("%(u)s", record(request)) == user


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ('100%% "%(m)s" \\ %%(h)s {x}', '100% "GET" \\ %(h)s {x}'),
        ("%(m)s\t'", "GET\t'"),
        ('{"m":"%(m)s","%({a"b\'\\\\}i)s":1}', '{"m":"GET","-":1}'),
        ("no atom", "no atom"),
    ],
)
def test_literal_text(text: str, shown: str) -> None:
    render = make_renderer(text, constants())
    assert render([record(head())]).decode() == shown + "\n"


def test_pieces_of_a_format() -> None:
    pieces = parse_log_format("a %(h)s%%%({X-Y}i)s")
    assert pieces == ["a ", Atom("h"), "%", Atom("i", "x-y")]


EVERYTHING = " ".join(f'"%({atom})s"' for atom in KNOWN)
OWN_QUOTES = 2 * len(KNOWN)
SHOWN = re.compile(r'(?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\bnrtv]|\\x[0-9a-f]{2})*').fullmatch


def check_line(data: bytes) -> None:
    """One line of printable ASCII, whose values can be told apart."""
    text = data.decode("ascii")
    assert text.endswith("\n")
    values = re.findall(r'"((?:[^"\\]|\\.)*)"(?: |\n)', text)
    assert len(values) == len(KNOWN)
    assert all(SHOWN(value) for value in values)
    assert len(text) == sum(len(value) + 3 for value in values)


@given(
    st.binary(), st.binary(), st.dictionaries(st.sampled_from(
        [b"user-agent", b"referer", b"authorization", b"host", b"x-twice", b"x-request-id",
         b"x-forwarded-for", b"forwarded"]), st.binary()),
)  # fmt: skip
def test_nobody_breaks_a_line_through_another_server(
    target: bytes, user: bytes, fields: dict[bytes, bytes]
) -> None:
    fields.setdefault(b"authorization", b"Basic " + base64.b64encode(user + b":x"))
    request = PlainRequest("GET", target, "1.1", list(fields.items()))
    render = make_renderer(EVERYTHING, constants())
    check_line(render([record(request)]))


@given(
    st.binary(min_size=1), st.lists(st.tuples(st.sampled_from(
        [b"User-Agent", b"Referer", b"Authorization", b"X-Twice", b"X-Request-ID"]), st.binary())),
    st.booleans(),
)  # fmt: skip
def test_nobody_breaks_a_line_through_our_engine(
    target: bytes, fields: list[tuple[bytes, bytes]], parsed: bool
) -> None:
    lines = [b"GET /%b HTTP/1.1" % target, b"Host: a", *(b"%b: %b" % each for each in fields)]
    try:
        request = parse_head(b"\r\n".join(lines) + b"\r\n\r\n", Http1Config())
    except RequestError:
        request = None
    if request is not None and parsed:
        assert request.headers
    render = make_renderer(EVERYTHING, constants())
    check_line(render([record(request)]))
    both = render([record(request), record(head())])
    for each in both.splitlines(keepends=True):
        check_line(each)


class Proxied(NamedTuple):
    """A proxy's answer."""

    status: int = 200
    body_bytes: int = 5
    request_id: str = "a"
    sent_head: bytes = b""
    upstream: str = "10.0.0.1:80,unix:/run/my app.sock"
    upstream_seconds: float | None = 1.25


def test_where_a_proxy_sent_it() -> None:
    made = Record(plain(), Proxied(), 2.0, 5.5, None)
    assert line("%(upstream)s %(upstream_L)s", made) == (
        r"10.0.0.1:80,unix:/run/my\x20app.sock 1.250000"
    )
    nowhere = Record(plain(), Proxied(upstream="", upstream_seconds=None), 2.0, 5.5, None)
    assert line("%(upstream)s %(upstream_L)s", nowhere) == "- -"
