"""environ: PEP 3333's variables, one by one."""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING
from wsgiref.util import FileWrapper

import pytest

from balancer.apps.wsgi.environ import ErrorStream
from tests.apps.wsgi.lab import PLAIN, ask

if TYPE_CHECKING:
    from tests.apps.wsgi.lab import Environ, StartResponse


async def environ_of(
    request: bytes,
    *,
    threads: int = 1,
    root_path: str = "",
    forwarded_allow_ips: tuple[str, ...] = (),
) -> Environ:
    seen: Environ = {}

    def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        seen.update(environ)
        start_response("200 OK", PLAIN)
        return [b"ok"]

    answer = await ask(
        app,
        request,
        threads=threads,
        root_path=root_path,
        forwarded_allow_ips=forwarded_allow_ips,
    )
    assert answer.startswith(b"HTTP/1.1 200 "), answer
    return seen


def get(target: str = "/", headers: str = "", version: str = "1.1") -> bytes:
    return f"GET {target} HTTP/{version}\r\nHost: example.org:81\r\n{headers}\r\n".encode("latin-1")


async def test_everything_that_a_plain_request_has() -> None:
    environ = await environ_of(get("/a?b=c"), threads=3)
    assert environ.pop("wsgi.input").read() == b""
    assert isinstance(environ.pop("wsgi.errors"), ErrorStream)
    assert environ.pop("SERVER_SOFTWARE").startswith("balancer/")
    assert environ == {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/a",
        "QUERY_STRING": "b=c",
        "RAW_URI": "/a?b=c",
        "REQUEST_URI": "/a?b=c",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "8000",
        "REMOTE_ADDR": "203.0.113.9",
        "REMOTE_PORT": "4711",
        "HTTP_HOST": "example.org:81",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        "wsgi.file_wrapper": FileWrapper,
        "wsgi.input_terminated": True,
    }
    assert type(environ) is dict


async def test_one_thread_is_not_multithreaded() -> None:
    assert (await environ_of(get(), threads=1))["wsgi.multithread"] is False


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        ("/", "/", ""),
        ("/a%20b", "/a b", ""),
        ("/%C3%A9", "/\u00c3\u00a9", ""),  # UTF-8, each byte as a character
        ("/%2F%3F", "//?", ""),
        ("/%zz%4", "/%zz%4", ""),
        ("/a?x=%20&y=?", "/a", "x=%20&y=?"),
        ("http://other/p?q", "/p", "q"),
    ],
)
async def test_the_path_is_decoded_byte_by_byte_and_the_query_is_not(
    target: str, path: str, query: str
) -> None:
    environ = await environ_of(get(target))
    assert (environ["PATH_INFO"], environ["QUERY_STRING"]) == (path, query)
    assert environ["RAW_URI"] == target
    assert environ["PATH_INFO"].encode("latin-1").decode() == path.encode("latin-1").decode()


async def test_options_of_the_server_has_no_path() -> None:
    environ = await environ_of(b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (environ["PATH_INFO"], environ["RAW_URI"]) == ("", "*")


async def test_the_root_path_is_the_script_name() -> None:
    environ = await environ_of(get("/a"), root_path="/mounted%20here")
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == ("/mounted here", "/a")


async def test_the_protocol_is_the_clients() -> None:
    assert (await environ_of(get(version="1.0")))["SERVER_PROTOCOL"] == "HTTP/1.0"


async def test_content_type_and_length_have_names_of_their_own() -> None:
    environ = await environ_of(
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Type: a/b\r\nContent-Length: 2\r\n\r\nhi"
    )
    assert (environ["CONTENT_TYPE"], environ["CONTENT_LENGTH"]) == ("a/b", "2")
    assert not {"HTTP_CONTENT_TYPE", "HTTP_CONTENT_LENGTH"} & environ.keys()


async def test_a_chunked_body_has_no_length() -> None:
    environ = await environ_of(
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"
    )
    assert "CONTENT_LENGTH" not in environ
    assert environ["HTTP_TRANSFER_ENCODING"] == "chunked"


async def test_a_repeated_header_is_a_list() -> None:
    environ = await environ_of(get(headers="X-A: 1\r\nX-B: 0\r\nx-a: 2\r\nX-A: 3\r\n"))
    assert (environ["HTTP_X_A"], environ["HTTP_X_B"]) == ("1,2,3", "0")


async def test_repeated_cookies_are_a_list_of_cookies() -> None:
    environ = await environ_of(get(headers="Cookie: a=1\r\nCookie: b=2; c=3\r\n"))
    assert environ["HTTP_COOKIE"] == "a=1; b=2; c=3"


async def test_a_name_with_an_underscore_cannot_pass_for_one_with_a_hyphen() -> None:
    for _ in range(2):  # the second time from memory
        environ = await environ_of(get(headers="X_Real_Ip: 6.6.6.6\r\nX-Other: 1\r\n"))
        assert "HTTP_X_REAL_IP" not in environ
        assert environ["HTTP_X_OTHER"] == "1"
    environ = await environ_of(get(headers="Content_Length: 5\r\n"))
    assert not [key for key in environ if "CONTENT" in key]


async def test_values_are_latin_1() -> None:
    assert (await environ_of(get(headers="X-A: caf\u00e9\r\n")))["HTTP_X_A"] == "caf\u00e9"


FORWARDED = "X-Forwarded-For: 198.51.100.7\r\nX-Forwarded-Proto: https\r\n"


async def test_a_trusted_proxy_is_believed() -> None:
    environ = await environ_of(get(headers=FORWARDED), forwarded_allow_ips=("203.0.113.0/24",))
    assert environ["wsgi.url_scheme"] == "https"
    assert environ["REMOTE_ADDR"] == "198.51.100.7"
    assert "REMOTE_PORT" not in environ  # the proxy's would be a lie


async def test_anybody_else_is_not() -> None:
    environ = await environ_of(get(headers=FORWARDED), forwarded_allow_ips=("10.0.0.0/8",))
    assert (environ["wsgi.url_scheme"], environ["REMOTE_ADDR"]) == ("http", "203.0.113.9")


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("a.example:81", ("a.example", "81")),
        ("a.example", ("a.example", "80")),
        ("[::1]", ("[::1]", "80")),
        ("[::1]:82", ("[::1]", "82")),
    ],
)
async def test_on_a_unix_socket_the_client_names_the_server(
    host: str, expected: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.http1.fakes.MemoryTransport.local", "/run/x.sock")
    monkeypatch.setattr("tests.http1.fakes.MemoryTransport.peer", None)
    environ = await environ_of(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    assert (environ["SERVER_NAME"], environ["SERVER_PORT"]) == expected
    assert environ["REMOTE_ADDR"] == ""
    nameless = await environ_of(b"GET / HTTP/1.0\r\n\r\n")
    assert (nameless["SERVER_NAME"], nameless["SERVER_PORT"]) == ("localhost", "80")


async def test_an_app_may_change_its_environ() -> None:
    def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        assert "mine" not in environ
        environ["mine"] = environ["wsgi.version"] = 1
        start_response("200 OK", PLAIN)
        return [b"ok"]

    assert (await ask(app, get() * 2)).count(b"200 OK") == 2


def test_errors_go_to_whatever_stderr_is(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = ErrorStream()
    text = io.StringIO()
    monkeypatch.setattr(sys, "stderr", text)
    stream.write("a\n")
    stream.writelines(["b\n", "c\n"])
    stream.flush()
    assert text.getvalue() == "a\nb\nc\n"
    monkeypatch.setattr(sys, "stderr", None)
    stream.write("nowhere")
    stream.flush()
