"""start_response, write(), the iterable and close(): PEP 3333's rules, one by one."""

from __future__ import annotations

import io
import logging
import sys
import threading
from types import FunctionType
from typing import TYPE_CHECKING, Any
from wsgiref.validate import validator

import pytest
import trio

from tests.apps.wsgi.lab import (
    GET,
    PLAIN,
    App,
    aborts,
    ask,
    body,
    read_until,
    says,
    serving,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from tests.apps.wsgi.lab import Environ, StartResponse

HEAD = GET.replace(b"GET", b"HEAD")
GET_1_0 = b"GET / HTTP/1.0\r\n\r\n"
SERVER_ERROR = b"HTTP/1.1 500 Internal Server Error\r\n"


@pytest.fixture(autouse=True)
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    logging.getLogger("balancer").propagate = True
    return caplog


class Body:
    """An iterable that knows whether it was closed."""

    def __init__(self, blocks: Iterable[Any]) -> None:
        self.blocks = iter(blocks)
        self.closed = 0

    def __iter__(self) -> Iterator[Any]:
        return self.blocks

    def close(self) -> None:
        self.closed += 1


def returns(result: object, headers: list[tuple[str, str]] = PLAIN, status: str = "200 OK") -> App:
    def app(_environ: Environ, start_response: StartResponse) -> object:
        start_response(status, list(headers))
        return result() if isinstance(result, FunctionType) else result

    return app


def sized(length: int) -> list[tuple[str, str]]:
    return [*PLAIN, ("Content-Length", str(length))]


class TestOnePiece:
    @pytest.mark.parametrize("result", [[b"Hello"], (b"Hello",), [b"Hel", b"", b"lo"]])
    async def test_a_list_has_a_length(self, result: object) -> None:
        answer = await ask(returns(result))
        assert answer == (
            b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nHello"
        )

    @pytest.mark.parametrize("result", [[], (), [b""], iter([]), iter([b"", b""])])
    async def test_nothing_has_the_length_0(self, result: object) -> None:
        answer = await ask(returns(result))
        assert answer.endswith(b"Content-Length: 0\r\n\r\n")

    async def test_a_sequence_of_one_has_a_length(self) -> None:
        class One(Body):
            def __len__(self) -> int:
                return 1

        one = One([b"Hello"])
        answer = await ask(returns(one))
        assert b"Content-Length: 5\r\n" in answer
        assert one.closed == 1

    async def test_one_whose_length_is_a_lie_is_not_believed_any_further(
        self, log: pytest.LogCaptureFixture
    ) -> None:
        class Liar(Body):
            def __len__(self) -> int:
                return 1

        liar = Liar([b"Hello", b"more"])
        answer = await ask(returns(liar))
        assert answer.endswith(b"Content-Length: 5\r\n\r\nHello")
        assert "longer than was announced" in log.text
        assert liar.closed == 1

    async def test_a_block_that_is_as_long_as_announced_is_all(self) -> None:
        answer = await ask(returns(Body([b"", b"Hello", b""]), sized(5)))
        assert answer.endswith(b"Content-Length: 5\r\n\r\nHello")

    async def test_the_connection_goes_on(self) -> None:
        assert (await ask(says(), GET * 3)).count(b"200 OK") == 3

    async def test_an_http_1_0_client_gets_a_length_and_a_close(self) -> None:
        answer = await ask(says(), GET_1_0)
        assert b"Content-Length: 2\r\nConnection: close\r\n" in answer


class TestStreaming:
    async def test_blocks_are_chunks(self) -> None:
        answer = await ask(returns(Body([b"Hello", b"", b", ", b"World"])))
        assert b"Transfer-Encoding: chunked\r\n" in answer
        assert answer.endswith(b"0\r\n\r\n")

    async def test_with_a_length_there_are_none(self) -> None:
        answer = await ask(returns(Body([b"Hello", b"World"]), sized(10)))
        assert answer.endswith(b"Content-Length: 10\r\n\r\nHelloWorld")

    async def test_to_http_1_0_the_end_is_the_end_of_the_connection(self) -> None:
        answer = await ask(returns(Body([b"Hello", b"World"])), GET_1_0)
        assert answer.endswith(b"Connection: close\r\n\r\nHelloWorld")

    async def test_a_block_does_not_wait_for_the_next(self) -> None:
        go = threading.Event()

        def blocks() -> Iterator[bytes]:
            yield b"first"
            go.wait()
            yield b"second"

        async with serving(returns(blocks())) as site, site.connect() as client:
            await client.send_all(GET)
            await read_until(client, b"5\r\nfirst\r\n")
            go.set()
            await read_until(client, b"6\r\nsecond\r\n0\r\n\r\n")

    async def test_nor_for_the_end(self) -> None:
        go = threading.Event()

        def blocks() -> Iterator[bytes]:
            yield b"Hello"
            go.wait()

        async with serving(returns(blocks(), sized(5))) as site, site.connect() as client:
            await client.send_all(GET)
            await read_until(client, b"\r\n\r\nHello")
            go.set()

    async def test_many_small_blocks_arrive_in_order(self) -> None:
        numbers = [b"%d\n" % number for number in range(20_000)]
        async with serving(returns(Body(numbers))) as site, site.connect() as client:
            await client.send_all(GET)
            answer = await read_until(client, b"0\r\n\r\n")
        assert dechunked(answer) == b"".join(numbers)

    async def test_an_app_is_no_further_ahead_than_the_window(self) -> None:
        made = 0

        def blocks() -> Iterator[bytes]:
            nonlocal made
            while made < 1000:
                made += 1
                yield bytes(65536)

        body = Body(blocks())
        async with serving(returns(body)) as site:
            async with site.connect() as client:
                await client.send_all(GET)
                before = -1
                while made != before:  # until it stands still
                    before = made
                    await trio.sleep(0.1)
                assert made < 100  # a socket pair's buffers, and one or two of ours
            with trio.fail_after(5):
                await site.service.stop()
        assert body.closed == 1


def dechunked(answer: bytes) -> bytes:
    data = answer.partition(b"\r\n\r\n")[2]
    found = b""
    while True:
        line, _, data = data.partition(b"\r\n")
        size = int(line, 16)
        if not size:
            return found
        found, data = found + data[:size], data[size + 2 :]


class TestWrite:
    async def test_it_sends_at_once_and_the_iterable_comes_behind(self) -> None:
        go = threading.Event()

        def app(_: Environ, start_response: StartResponse) -> list[bytes]:
            write = start_response("200 OK", PLAIN)
            write(b"first")
            go.wait()
            write(b"second")
            return [b"third"]

        async with serving(app) as site, site.connect() as client:
            await client.send_all(GET)
            await read_until(client, b"5\r\nfirst\r\n")
            go.set()
            answer = await read_until(client, b"0\r\n\r\n")
        assert dechunked(b"\r\n\r\n" + answer) == b"secondthird"

    async def test_writing_nothing_sends_the_head(self) -> None:
        go = threading.Event()

        def app(_: Environ, start_response: StartResponse) -> list[bytes]:
            start_response("200 OK", PLAIN)(b"")
            go.wait()
            return []

        async with serving(app) as site, site.connect() as client:
            await client.send_all(GET)
            await read_until(client, b"\r\n\r\n")
            go.set()
            await read_until(client, b"0\r\n\r\n")

    async def test_what_is_announced_may_be_written(self) -> None:
        def app(_: Environ, start_response: StartResponse) -> list[bytes]:
            write = start_response("200 OK", sized(6))
            write(b"abc")
            write(b"def")
            return []

        assert (await ask(app)).endswith(b"\r\n\r\nabcdef")

    async def test_more_is_an_error_in_the_app(self) -> None:
        errors: list[str] = []

        def app(_: Environ, start_response: StartResponse) -> list[bytes]:
            write = start_response("200 OK", sized(3))
            try:
                write(b"abcd")
            except RuntimeError as error:
                errors.append(str(error))
            write(b"abc")
            return []

        assert (await ask(app)).endswith(b"\r\n\r\nabc")
        assert errors == ["the body is longer than was announced"]


class TestBodiless:
    @pytest.mark.parametrize("result", [[b"Hello"], lambda: Body([b"Hel", b"lo"]), []])
    @pytest.mark.parametrize("headers", [PLAIN, sized(5)])
    async def test_head_has_a_head_only(
        self, result: object, headers: list[tuple[str, str]]
    ) -> None:
        answer = await ask(returns(result, headers), HEAD * 2)
        assert answer.count(b"HTTP/1.1 200 OK\r\n") == 2
        assert b"Hel" not in answer
        if headers != PLAIN or result == [b"Hello"]:
            assert answer.count(b"Content-Length: 5\r\n") == 2

    async def test_head_of_a_stream_without_end_ends(self) -> None:
        def blocks() -> Iterator[bytes]:
            while True:
                yield b"x"

        stream = Body(blocks())
        assert body(await ask(returns(stream), HEAD)) == b""
        assert stream.closed == 1

    async def test_head_written(self) -> None:
        def app(_: Environ, start_response: StartResponse) -> list[bytes]:
            write = start_response("200 OK", PLAIN)
            write(b"Hello")
            write(b"World")
            return [b"!"]

        assert (await ask(app, HEAD)).endswith(b"text/plain\r\n\r\n")

    @pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
    @pytest.mark.parametrize("blocks", [[], [b""], [b"no"], lambda: Body([b"n", b"o"])])
    async def test_neither_have_204_and_304(self, status: str, blocks: object) -> None:
        answer = await ask(returns(blocks, [("ETag", '"x"')], status), GET * 2)
        assert answer.count(b'ETag: "x"\r\n\r\nHTTP/1.1') == 1
        assert answer.endswith(b'ETag: "x"\r\n\r\n')


class TestStartResponse:
    async def test_again_without_exc_info_is_an_error(self, log: pytest.LogCaptureFixture) -> None:
        def app(_: Environ, start_response: StartResponse) -> list[bytes]:
            start_response("200 OK", PLAIN)
            start_response("200 OK", PLAIN)
            return [b""]

        assert (await ask(app)).startswith(SERVER_ERROR)
        assert "start_response was called again" in log.text

    async def test_with_exc_info_it_replaces_what_was_not_sent(self) -> None:
        def app(_: Environ, start_response: StartResponse) -> list[bytes]:
            start_response("200 OK", [("X-First", "1")])
            try:
                raise ValueError
            except ValueError:
                start_response("500 Oops", PLAIN, sys.exc_info())
            return [b"sorry"]

        answer = await ask(app)
        assert answer.startswith(SERVER_ERROR)
        assert b"X-First" not in answer
        assert answer.endswith(b"sorry")

    async def test_with_exc_info_it_may_be_the_first(self) -> None:
        def app(_: Environ, start_response: StartResponse) -> list[bytes]:
            try:
                raise ValueError
            except ValueError:
                start_response("503 Busy", PLAIN, sys.exc_info())
            return [b"sorry"]

        assert (await ask(app)).startswith(b"HTTP/1.1 503 ")

    async def test_too_late_it_raises_what_it_was_given(
        self, log: pytest.LogCaptureFixture
    ) -> None:
        def app(_: Environ, start_response: StartResponse) -> Iterator[bytes]:
            start_response("200 OK", PLAIN)
            yield b"some"
            try:
                raise ValueError("the app's own")
            except ValueError:
                start_response("500 Oops", PLAIN, sys.exc_info())

        assert (await aborts(app)).endswith(b"4\r\nsome\r\n")
        assert "the app's own" in log.text

    async def test_it_may_be_called_with_the_first_block(self) -> None:
        def app(_: Environ, start_response: StartResponse) -> Iterator[bytes]:
            yield b""
            start_response("200 OK", PLAIN)
            yield b"Hello"

        assert b"5\r\nHello\r\n" in await ask(app)

    async def test_it_is_believed_when_it_is_called(self) -> None:
        def app(_: Environ, start_response: StartResponse) -> list[bytes]:
            headers = list(PLAIN)
            start_response("200 OK", headers)
            headers.append(("X-Late", "1"))
            return [b"ok"]

        assert b"X-Late" not in await ask(app)

    @pytest.mark.parametrize(
        "status",
        ["200", "200 ", "200 Fine by me", "404 Not Found", "599 x"],
    )
    async def test_good_statuses(self, status: str) -> None:
        answer = await ask(says(status=status))
        assert answer.startswith(b"HTTP/1.1 " + status[:3].encode())

    @pytest.mark.parametrize(
        "status", ["", "OK", "20 OK", "2000 OK", "100 Continue", "600 x", "200\r\nX: y", 200, None]
    )
    async def test_bad_statuses(self, status: str, log: pytest.LogCaptureFixture) -> None:
        assert (await ask(says(status=status))).startswith(SERVER_ERROR)
        assert "is no status: it looks like '200 OK'" in log.text

    @pytest.mark.parametrize(
        "name",
        ["Connection", "keep-alive", "TE", "Trailers", "Transfer-Encoding", "Upgrade",
         "Proxy-Authenticate", "Proxy-Authorization"],
    )  # fmt: skip
    async def test_hop_by_hop_headers_are_the_servers(
        self, name: str, log: pytest.LogCaptureFixture
    ) -> None:
        answer = await ask(says(headers=[(name, "x")]))
        assert answer.startswith(SERVER_ERROR)
        assert f"header {name}: hop-by-hop" in log.text

    @pytest.mark.parametrize(
        ("headers", "problem"),
        [
            ([("X", "a\r\nY: b")], "has a control character"),
            ([("X Y", "a")], "is no header name"),
            ([("", "a")], "is no header name"),
            ([("X", "\u20ac")], "has characters beyond Latin-1"),
            ([(b"X", b"a")], "names and values are str"),
            ([("X", 5)], "names and values are str"),
            ([("Content-Length", "x")], "is no number"),
            ([("Content-Length", "1"), ("Content-Length", "2")], "contradicts another"),
            ([("X",)], "ValueError"),
            (None, "TypeError"),
        ],
    )
    async def test_bad_headers(
        self,
        headers: object,
        problem: str,
        log: pytest.LogCaptureFixture,
    ) -> None:
        def app(_: Environ, start_response: StartResponse) -> list[bytes]:
            start_response("200 OK", headers)
            return [b""]

        answer = await ask(app)
        assert answer.startswith(SERVER_ERROR)
        assert problem in log.text

    async def test_an_app_may_correct_itself(self) -> None:
        def app(_: Environ, start_response: StartResponse) -> list[bytes]:
            try:
                start_response("200 OK", [("Connection", "close")])
            except RuntimeError:
                start_response("200 OK", PLAIN)
            return [b"ok"]

        assert (await ask(app)).endswith(b"ok")

    async def test_headers_are_sent_as_they_are(self) -> None:
        headers = [("Set-Cookie", "a=1"), ("X-Name", "caf\u00e9"), ("Set-Cookie", "b=2")]
        answer = await ask(says(headers=headers))
        assert b"Set-Cookie: a=1\r\nX-Name: caf\xe9\r\nSet-Cookie: b=2\r\n" in answer


def explodes(*blocks: bytes, early: bool = False) -> Iterator[bytes]:
    if early:
        raise ValueError("the app's own")
    yield from blocks
    raise ValueError("the app's own")


class TestBadApps:
    """Nothing was sent: a 500, on a connection that closes. Something was: a reset."""

    @pytest.mark.parametrize(
        ("app", "problem"),
        [
            (returns("text"), "the app returned a str, not an iterable of bytes"),
            (returns(b"bytes"), "the app returned a bytes, not an iterable of bytes"),
            (returns(None), "the app returned None, not an iterable of bytes"),
            (returns(5), "the app returned an int, not an iterable of bytes"),
            (returns(["text"]), "a block of the body is a str, not bytes"),
            (returns(iter([""])), "a block of the body is a str, not bytes"),
            (returns(iter([None])), "a block of the body is None, not bytes"),
            (returns([b"abc"], sized(5)), "Content-Length 5 for a body of 3 bytes"),
            (returns([b"abc"], sized(2)), "Content-Length 2 for a body of 3 bytes"),
            (returns([], sized(2)), "Content-Length 2 for a body of 0 bytes"),
            (returns(iter([]), sized(2)), "Content-Length 2 for a body of 0 bytes"),
            (returns(iter([b"abc"]), sized(2)), "the body is longer than was announced"),
            (returns(explodes(early=True)), "ValueError: the app's own"),
            (lambda *_: [], "the app returned without calling start_response"),
            (lambda *_: [b"x"], "the app returned without calling start_response"),
            (lambda *_: iter([b"x"]), "the body came before start_response was called"),
            (lambda *_: iter([]), "the app returned without calling start_response"),
            (lambda _: [], "TypeError"),
            (lambda *_: sys.exit(3), "SystemExit: 3"),
        ],
    )
    async def test_before_anything_is_sent(
        self, app: App, problem: str, log: pytest.LogCaptureFixture
    ) -> None:
        answer = await ask(app, GET * 2)
        assert answer.startswith(SERVER_ERROR)
        assert answer.count(b"HTTP/1.1") == 1
        assert b"Connection: close" in answer
        assert problem in log.text
        assert "app site:app: GET / failed" in log.text

    @pytest.mark.parametrize(
        ("app", "problem"),
        [
            (returns(explodes(b"some")), "ValueError: the app's own"),
            (returns(explodes(b"so", b"me"), sized(9)), "ValueError: the app's own"),
            (returns(iter([b"some", "text"])), "a block of the body is a str, not bytes"),
            (returns(iter([b"so", b"me"]), sized(5)), "1 bytes shorter than its Content-Length"),
            (returns(iter([b"so", b"mex"]), sized(4)), "the body is longer than was announced"),
        ],
    )
    async def test_in_the_middle(
        self, app: App, problem: str, log: pytest.LogCaptureFixture
    ) -> None:
        heard = await aborts(app)
        assert not heard.endswith(b"0\r\n\r\n")
        assert problem in log.text

    @pytest.mark.parametrize(
        "app",
        [
            returns(explodes(b"Hello"), sized(5)),
            returns(iter([b"Hel", b"lo", b"more"]), sized(5)),
            returns(iter([b"Hello", b"more"]), sized(5)),
        ],
    )
    async def test_behind_the_end_it_is_logged_only(
        self, app: App, log: pytest.LogCaptureFixture
    ) -> None:
        assert (await ask(app)).endswith(b"\r\n\r\nHello")
        assert "app site:app: GET / failed" in log.text

    async def test_the_thread_goes_on(self) -> None:
        def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
            if environ["PATH_INFO"] == "/bad":
                raise SystemExit
            start_response("200 OK", PLAIN)
            return [b"ok"]

        async with serving(app) as site:
            for path in (b"/bad", b"/", b"/bad", b"/"):
                async with site.connect() as client:
                    await client.send_all(GET.replace(b" / ", b" %b " % path))
                    await read_until(client, b"ok" if path == b"/" else b")\n")


class TestClose:
    async def test_once_and_last(self) -> None:
        result = Body([b"a", b"b"])
        await ask(returns(result))
        assert result.closed == 1

    @pytest.mark.parametrize(
        "blocks", [explodes(b""), explodes(b"x"), ["text"], [b"x", "text"], [b"too", b"long"]]
    )
    async def test_also_after_an_error(self, blocks: Iterable[Any]) -> None:
        result = Body(blocks)
        async with serving(returns(result, sized(4))) as site, site.connect() as client:
            await client.send_all(GET)
            with trio.fail_after(5):
                try:
                    while await client.receive_some():
                        pass
                except trio.BrokenResourceError:
                    pass
        assert result.closed == 1

    async def test_also_when_the_client_has_gone(self, log: pytest.LogCaptureFixture) -> None:
        left = threading.Event()

        def blocks() -> Iterator[bytes]:
            yield b"first"
            left.wait()
            while True:
                yield bytes(100_000)

        result = Body(blocks())
        async with serving(returns(result)) as site:
            async with site.connect() as client:
                await client.send_all(GET)
                await read_until(client, b"first\r\n")
            left.set()
            with trio.fail_after(5):
                await site.service.stop()
            assert result.closed == 1
        assert "failed" not in log.text  # nobody is to blame

    async def test_who_writes_on_although_the_client_has_gone_comes_to_an_end(self) -> None:
        refused: list[OSError] = []

        def app(_: Environ, start_response: StartResponse) -> list[bytes]:
            write = start_response("200 OK", PLAIN)
            while len(refused) < 3:
                try:
                    write(bytes(100_000))
                except OSError as error:
                    refused.append(error)
            return []

        async with serving(app) as site:
            async with site.connect() as client:
                await client.send_all(GET)
                await client.receive_some()
            with trio.fail_after(5):
                await site.service.stop()

    async def test_its_error_is_logged_and_the_response_stands(
        self, log: pytest.LogCaptureFixture
    ) -> None:
        class Bad(Body):
            def close(self) -> None:
                raise ValueError("in close")

        assert (await ask(returns(Bad([b"a", b"b"])), GET)).endswith(b"0\r\n\r\n")
        assert "in close" in log.text

    async def test_the_response_does_not_wait_for_it(self) -> None:
        go = threading.Event()

        closed: list[int] = []

        class Slow(Body):
            def close(self) -> None:
                go.wait()
                closed.append(1)

        result = Slow([b"Hello"])
        async with serving(returns(result, sized(5))) as site, site.connect() as client:
            await client.send_all(GET)
            await read_until(client, b"Hello")
            assert closed == []
            go.set()
        assert closed == [1]


class File(io.BytesIO):
    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.sizes: list[int] = []

    def read(self, size: int | None = -1, /) -> bytes:
        self.sizes.append(-1 if size is None else size)
        return super().read(size)


def wrapping(file: object, headers: list[tuple[str, str]]) -> App:
    def app(environ: Environ, start_response: StartResponse) -> object:
        start_response("200 OK", headers)
        wrapper: Callable[..., object] = environ["wsgi.file_wrapper"]
        return wrapper(file, 10)

    return app


class TestFileWrapper:
    async def test_a_file_is_sent_and_closed(self) -> None:
        file = File(b"x" * 100_000)
        answer = await ask(wrapping(file, PLAIN))
        assert dechunked(answer) == b"x" * 100_000
        assert file.closed
        assert min(file.sizes) == 65536  # not 10

    async def test_from_where_it_stands(self) -> None:
        file = File(b"0123456789")
        file.seek(5)
        answer = await ask(wrapping(file, sized(5)))
        assert answer.endswith(b"Content-Length: 5\r\n\r\n56789")

    async def test_as_far_as_announced(self) -> None:
        file = File(b"0123456789" * 10_000)
        for length in (5, 70_000):
            file = File(b"0123456789" * 10_000)
            answer = await ask(wrapping(file, sized(length)))
            assert body(answer) == (b"0123456789" * 10_000)[:length]

    async def test_one_that_is_shorter_is_cut_visibly(self) -> None:
        assert (await aborts(wrapping(File(b"0123456789"), sized(11)))).endswith(b"0123456789")

    async def test_an_empty_one(self) -> None:
        for headers in (PLAIN, sized(0)):
            answer = await ask(wrapping(File(b""), headers))
            assert answer.endswith(b"Content-Length: 0\r\n\r\n")

    async def test_head_of_one(self) -> None:
        answer = await ask(wrapping(File(b"0123456789"), sized(10)), HEAD)
        assert answer.endswith(b"Content-Length: 10\r\n\r\n")

    async def test_what_has_only_read_is_a_file(self) -> None:
        class Reader:
            def __init__(self) -> None:
                self.left = [b"a", b"b"]

            def read(self, _size: int) -> bytes:
                return self.left.pop(0) if self.left else b""

        assert dechunked(await ask(wrapping(Reader(), PLAIN))) == b"ab"


@validator
def proper(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Everything that an app may do."""
    file = environ["wsgi.input"]
    got = [file.readline(), file.read(3), *file.readlines(4), *file]
    environ["wsgi.errors"].write("")
    environ["wsgi.errors"].flush()
    write = start_response("200 OK", [("Content-Type", "text/plain"), ("X-A", "b")])
    if environ["PATH_INFO"] == "/write":
        write(b"written ")
    return Body([b"", b"|".join(got)])


@pytest.mark.parametrize("path", [b"/", b"/write", b"/a%2Fb"])
@pytest.mark.parametrize("chunked", [True, False])
async def test_the_standard_librarys_validator_is_content(
    path: bytes, chunked: bool, log: pytest.LogCaptureFixture
) -> None:
    data = b"one\ntwo three\nfour\nfive"
    request = b"POST " + path + b" HTTP/1.1\r\nHost: x\r\nCookie: a=b\r\n"
    if chunked:
        request += b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(data), data)
    else:
        request += b"Content-Length: %d\r\n\r\n%b" % (len(data), data)
    answer = await ask(proper, request)
    assert log.text == ""
    assert dechunked(answer).endswith(b"one\n|two| three\n|four\n|five")


async def test_it_is_content_without_a_body_and_on_options() -> None:
    for request in (GET, b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n"):
        assert (await ask(proper, request)).startswith(b"HTTP/1.1 200 OK")
