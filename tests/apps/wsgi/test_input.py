"""wsgi.input against io.BytesIO, however the bytes come."""

from __future__ import annotations

import io
import threading
from typing import TYPE_CHECKING

import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from balancer.apps.wsgi.input import Input
from balancer.http1 import Http1Config
from tests.apps.wsgi.lab import PLAIN, ask, read_until, serving

if TYPE_CHECKING:
    from tests.apps.wsgi.lab import Environ, StartResponse

SIZES = st.none() | st.integers(-1, 40)
OPERATIONS = st.lists(
    st.tuples(st.sampled_from(["read", "readline", "readlines"]), SIZES)
    | st.tuples(st.just("next"), st.none()),
    max_size=12,
)
BODIES = st.lists(st.sampled_from([b"\n", b"a", b"bc\n", b"defghijklmnop", b"\r\n"]), max_size=12)


def do(file: Input | io.BytesIO, operation: str, size: int | None) -> object:
    if operation == "next":
        return next(file, None)
    result: object = getattr(file, operation)(size)
    return result


def fetching(pieces: list[bytes], asked: list[int], first: bytes) -> Input:
    """An input whose client sends these pieces, each at least as long as it is asked for."""
    left = list(pieces)

    def fetch(missing: int) -> tuple[bytes, bool]:
        assert left, "it asked for more after the end"
        assert missing > 0
        asked.append(missing)
        data = b""
        while left and (len(data) < missing):
            data += left.pop(0)
        return data, not left

    return Input(first, not left, fetch)


@given(pieces=st.lists(st.sampled_from([b"\n", b"a", b"bc\n", b"defgh", b"i\nj\nk"]), max_size=12),
       first=st.sampled_from([b"", b"x", b"y\nz"]), operations=OPERATIONS)  # fmt: skip
def test_it_is_a_file(
    pieces: list[bytes], first: bytes, operations: list[tuple[str, int | None]]
) -> None:
    oracle = io.BytesIO(first + b"".join(pieces))
    file = fetching(pieces, [], first)
    for operation, size in operations:
        assert do(file, operation, size) == do(oracle, operation, size), (operation, size)
    assert file.read() == oracle.read()


def test_what_is_there_is_not_asked_for() -> None:
    asked: list[int] = []
    file = fetching([b"more"], asked, b"ab\ncd")
    assert (file.read(2), file.readline(), file.read(2)) == (b"ab", b"\n", b"cd")
    assert asked == []
    assert file.read(3) == b"mor"
    assert asked == [3]


def test_reading_nothing_asks_for_nothing() -> None:
    asked: list[int] = []
    file = fetching([b"x"], asked, b"")
    assert (file.read(0), file.readline(0)) == (b"", b"")
    assert asked == []


def sent(chunks: list[bytes], chunked: bool) -> bytes:
    head = b"POST / HTTP/1.1\r\nHost: x\r\n"
    if not chunked:
        return head + b"Content-Length: %d\r\n\r\n%b" % (sum(map(len, chunks)), b"".join(chunks))
    body = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    return head + b"Transfer-Encoding: chunked\r\n\r\n" + body + b"0\r\n\r\n"


@settings(max_examples=40)
@given(chunks=BODIES, chunked=st.booleans(), piece=st.integers(1, 60), operations=OPERATIONS)
def test_through_the_engine(
    chunks: list[bytes], chunked: bool, piece: int, operations: list[tuple[str, int | None]]
) -> None:
    results: list[object] = []

    def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        file = environ["wsgi.input"]
        results.extend(do(file, *operation) for operation in operations)
        results.extend([file.read(), file.read(5), file.readline()])
        start_response("200 OK", PLAIN)
        return [b"ok"]

    # two requests: nothing of one may be left for the other
    request = sent(chunks, chunked)
    answer = trio.run(lambda: ask(app, request + request, piece=piece))
    assert answer.count(b"HTTP/1.1 200 OK") == 2
    oracle = io.BytesIO(b"".join(chunks))
    expected = [do(oracle, *operation) for operation in operations]
    expected += [oracle.read(), b"", b""]
    assert results == expected * 2


def reader(environ: Environ, start_response: StartResponse) -> list[bytes]:
    data = environ["wsgi.input"].read()
    start_response("200 OK", PLAIN)
    return [b"%d bytes" % len(data)]


async def test_100_continue_is_sent_when_the_app_reads() -> None:
    reading: list[object] = []

    def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        reading.append(environ["PATH_INFO"])
        return reader(environ, start_response)

    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"
    async with serving(app) as site, site.connect() as client:
        await client.send_all(head)
        assert await read_until(client, b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert reading == ["/"]
        await client.send_all(b"hi")
        assert (await read_until(client, b"2 bytes")).startswith(b"HTTP/1.1 200 OK\r\n")


async def test_100_continue_is_not_sent_to_one_that_did_not_wait() -> None:
    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"
    assert (await ask(reader, head + b"hi")).startswith(b"HTTP/1.1 200 OK\r\n")


async def test_nor_for_an_app_that_does_not_read() -> None:
    def app(_environ: Environ, start_response: StartResponse) -> list[bytes]:
        start_response("403 Forbidden", PLAIN)
        return [b"no"]

    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"
    answer = await ask(app, head)
    assert answer.startswith(b"HTTP/1.1 403 ")
    assert b"Connection: close" in answer


async def test_a_body_that_nobody_reads_does_not_end_the_connection() -> None:
    def app(_environ: Environ, start_response: StartResponse) -> list[bytes]:
        start_response("200 OK", PLAIN)
        return [b"ok"]

    request = sent([b"x" * 10] * 100, chunked=False)
    assert (await ask(app, request * 3, piece=100)).count(b"200 OK") == 3
    request = sent([b"x" * 10] * 100, chunked=True)  # how much there is, is not known
    assert (await ask(app, request * 3)).count(b"200 OK") == 3


def swallowing(environ: Environ, start_response: StartResponse) -> list[bytes]:
    """An app that takes any error of its input for the end."""
    try:
        environ["wsgi.input"].read()
    except OSError:
        start_response("400 Bad Request", PLAIN)
        return [b"the app's"]
    start_response("200 OK", PLAIN)
    return [b"ok"]


async def test_a_malformed_body_is_a_400_whatever_the_app_makes_of_it() -> None:
    for later in (b"", b"zz\r\n"):
        head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        request = head + (later or b"1\r\na\r\nnonsense\r\n")
        for piece in (1, 1000):
            answer = await ask(swallowing, request, piece=piece)
            assert answer.startswith(b"HTTP/1.1 400 "), answer
            assert b"the app's" not in answer


async def test_one_that_is_too_large_is_a_413() -> None:
    engine = Http1Config(max_body=20)
    request = sent([b"x" * 10] * 3, chunked=True)
    answer = await ask(swallowing, request, piece=10, engine=engine)
    assert answer.startswith(b"HTTP/1.1 413 ")


async def test_a_client_that_leaves_in_its_body_is_an_oserror_in_the_app() -> None:
    seen: list[BaseException] = []

    def app(environ: Environ, _start_response: StartResponse) -> list[bytes]:
        try:
            environ["wsgi.input"].read()
        except OSError as error:
            seen.append(error)
            raise
        return [b""]

    answer = await ask(app, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc")
    assert answer == b""
    assert len(seen) == 1


async def test_only_what_is_asked_for_is_read() -> None:
    """Backpressure: the rest stays with the client."""
    go = threading.Event()

    def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        first = environ["wsgi.input"].read(10)
        go.wait()
        start_response("200 OK", PLAIN)
        return [first]

    async with serving(app) as site, site.connect() as client:
        await client.send_all(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 50000000\r\n\r\n")
        with trio.move_on_after(0.3) as scope:
            await client.send_all(b"0123456789" * 5_000_000)
        assert scope.cancelled_caught
        go.set()
        assert await read_until(client, b"0123456789")
