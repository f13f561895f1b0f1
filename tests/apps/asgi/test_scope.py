"""What an app is told of a request (ASGI HTTP connection scope)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.apps.asgi.support import GET, START, ask

if TYPE_CHECKING:
    from collections.abc import Iterable

    from balancer.apps.asgi.types import Receive, Scope, Send


async def scope_of(data: bytes, *, root_path: str = "", trusted: Iterable[str] = ()) -> Scope:
    seen: list[Scope] = []

    async def app(scope: Scope, _receive: Receive, send: Send) -> None:
        seen.append(scope)
        await send(START)
        await send({"type": "http.response.body"})

    await ask(app, data, root_path=root_path, trusted=trusted)
    (scope,) = seen
    return scope


async def test_everything_is_there() -> None:
    request = b"POST /a%20b/%C3%A4?x=%20&y HTTP/1.1\r\nHost: a\r\nX-One: 1\r\nx-one: 2\r\n\r\n"
    scope = await scope_of(request)
    assert scope["extensions"].pop("balancer.request_id")["get"]() == "1"
    assert scope == {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/a b/ä",
        "raw_path": b"/a%20b/%C3%A4",
        "query_string": b"x=%20&y",
        "root_path": "",
        "headers": [(b"host", b"a"), (b"x-one", b"1"), (b"x-one", b"2")],
        "client": ("203.0.113.9", 4711),
        "server": ("127.0.0.1", 8000),
        "state": {},
        "extensions": {"http.response.trailers": {}, "http.response.pathsend": {}},
    }


@pytest.mark.parametrize(
    ("target", "path", "raw_path", "query"),
    [
        (b"/", "/", b"/", b""),
        (b"/?", "/", b"/", b""),
        (b"/a?b?c", "/a", b"/a", b"b?c"),
        (b"/%2F%2f", "///", b"/%2F%2f", b""),
        (b"/%ff", "/\ufffd", b"/%ff", b""),
        (b"//a/../b", "//a/../b", b"//a/../b", b""),
        (b"http://b/c?d", "/c", b"/c", b"d"),
        (b"http://b", "/", b"/", b""),
    ],
)
async def test_paths(target: bytes, path: str, raw_path: bytes, query: bytes) -> None:
    scope = await scope_of(b"GET %b HTTP/1.1\r\nHost: b\r\n\r\n" % target)
    assert (scope["path"], scope["raw_path"], scope["query_string"]) == (path, raw_path, query)


async def test_the_server_as_a_whole() -> None:
    scope = await scope_of(b"OPTIONS * HTTP/1.1\r\nHost: b\r\n\r\n")
    assert (scope["method"], scope["path"]) == ("OPTIONS", "*")


async def test_http_1_0() -> None:
    assert (await scope_of(b"GET / HTTP/1.0\r\n\r\n"))["http_version"] == "1.0"


async def test_a_root_path_is_in_front() -> None:
    scope = await scope_of(b"GET /x%20y HTTP/1.1\r\nHost: b\r\n\r\n", root_path="/api")
    assert scope["root_path"] == "/api"
    assert (scope["path"], scope["raw_path"]) == ("/api/x y", b"/api/x%20y")


FORWARDED = GET[:-2] + b"X-Forwarded-For: 198.51.100.1\r\nX-Forwarded-Proto: https\r\n\r\n"


async def test_what_strangers_say_of_themselves_is_not_believed() -> None:
    scope = await scope_of(FORWARDED, trusted=["127.0.0.1"])
    assert (scope["client"], scope["scheme"]) == (("203.0.113.9", 4711), "http")


async def test_what_a_trusted_proxy_says_is() -> None:
    scope = await scope_of(FORWARDED, trusted=["203.0.113.0/24"])
    assert (scope["client"], scope["scheme"]) == (("198.51.100.1", 0), "https")


async def test_no_two_requests_share_anything() -> None:
    first, second = await scope_of(GET), await scope_of(GET)
    for key, value in first.items():
        if isinstance(value, dict | list):
            assert value is not second[key], key
