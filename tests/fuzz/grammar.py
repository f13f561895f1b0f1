"""Valid client streams of all shapes, as lists of tokens that ``mutate`` can spoil one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from random import Random

__all__ = ["Tokens", "requests"]

Tokens = list[bytes]
"""A stream in the pieces of its grammar: a method, a blank, a field line, a chunk's size…"""

METHODS = (
    b"GET", b"GET", b"GET", b"POST", b"POST", b"PUT", b"HEAD", b"DELETE", b"OPTIONS", b"PATCH",
    b"PROPFIND", b"M-SEARCH", b"TRACE", b"CONNECT", b"PURGE", b"FROB", b"get", b"QUERY",
)  # fmt: skip
PATHS = (
    b"/", b"/a", b"/a/b?c=d", b"/%2e%2e/?%00", b"//evil/x", b"/a?b?c", b"/?http://x/", b"/a;b=c",
    b"/~!$&'()*+,;=:@", b"/\\..\\x", b"/\"<>^`{|}", b"/x%2f..%2f", b"/:80",
)  # fmt: skip
HOSTS = (
    b"example.com", b"example.com:8080", b"[::1]", b"[::1]:80", b"127.0.0.1", b"a", b"a:", b"a%20b",
)  # fmt: skip
FIELDS = (
    b"Accept: */*", b"User-Agent: fuzz/1.0 (x; y)", b"Cookie: a=b; c=d", b"X-A:", b"X-B:\t 1 \t",
    b"X-Obs: \xe9\xff", b"Accept-Encoding: gzip, deflate", b"Via: 1.0 other", b"TE: trailers",
    b"Connection: keep-alive", b"Connection: close", b"Connection: x-a, x-b", b"Connection: TE",
    b"Keep-Alive: timeout=5", b"X-Forwarded-For: 6.6.6.6", b"X_Forwarded_For: 6.6.6.6",
    b"Forwarded: for=6.6.6.6", b"X-Request-ID: chosen", b"Content-Type: text/plain",
    b"Authorization: Basic eDp5", b"Proxy-Authorization: Basic eDp5", b"Proxy-Connection: close",
    b"Trailer: X-T", b"Max-Forwards: 0", b"Expect: 100-continue", b"Early-Data: 1",
    b"Content_Length: 7", b"Transfer.Encoding: chunked", b"Transfer_Encoding: chunked",
    b"Upgrade: websocket", b"If-None-Match: \"x\"", b"Range: bytes=0-1", b"Date: today",
    b"Connection: host, content-length, transfer-encoding", b"X-Long: " + b"y" * 300,
)  # fmt: skip
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: evil\r\n\r\n"
BODIES = (
    b"", b"x", b"hello world", SMUGGLED, b"0\r\n\r\n" + SMUGGLED, b"5\r\nabcde\r\n0\r\n\r\n",
    b"\r\n\r\n", b"\x00\xff\n\r", b"\r\n" + SMUGGLED, b"z" * 700,
)  # fmt: skip
EXTENSIONS = (b"", b"", b"", b";a", b";a=b", b';a="b;c"', b"; a = b")
TRAILERS = (
    b"X-T: 1", b"X-U: 2", b"Content-Length: 5", b"Host: evil", b"Transfer-Encoding: chunked",
    b"X-Forwarded-For: 6.6.6.6", b"Authorization: x", b"Connection: close", b"Upgrade: x",
    b"Content_Length: 5", b"Expect: x",
)  # fmt: skip
LARGE = b"L" * 70_000  # more than is kept for another attempt, and than one read brings


def requests(random: Random) -> Tokens:
    """One to three pipelined requests."""
    tokens: Tokens = []
    for _ in range(1 if random.random() < 0.55 else random.randint(2, 3)):
        if random.random() < 0.03:
            tokens.append(b"\r\n")
        _request(random, tokens)
    return tokens


def _request(random: Random, tokens: Tokens) -> None:
    choice = random.choice
    method = choice(METHODS) if random.random() < 0.7 else b"POST"
    host = choice(HOSTS)
    version = b"HTTP/1.0" if random.random() < 0.12 else b"HTTP/1.1"
    tokens += (method, b" ", _target(random, method, host), b" ", version, b"\r\n")
    fields = [b"Host: " + host]
    fields += [choice(FIELDS) for _ in range(int(random.expovariate(0.6)))]
    if random.random() < 0.05:
        fields += [b"Connection: upgrade", b"Upgrade: " + choice((b"websocket", b"h2c", b"a, b/1"))]
    body: Tokens = []
    dice = random.random()
    if dice < 0.25 or (method in {b"POST", b"PUT", b"PATCH"} and dice < 0.45):
        data = _body(random)
        fields.append(b"Content-Length: %d" % len(data))
        body.append(data)
    elif dice < 0.7 and version == b"HTTP/1.1" and (method != b"GET" or dice < 0.5):
        fields.append(b"Transfer-Encoding: " + choice((b"chunked", b"chunked", b"Chunked")))
        _chunks(random, body)
    random.shuffle(fields)
    for line in fields:
        tokens += (line, b"\r\n")
    tokens.append(b"\r\n")
    tokens += body


def _target(random: Random, method: bytes, host: bytes) -> bytes:
    if method == b"CONNECT":
        return host
    if method == b"OPTIONS" and random.random() < 0.4:
        return b"*"
    path = random.choice(PATHS)
    dice = random.random()
    if dice < 0.85:
        return path
    return b"http://" + random.choice(HOSTS) + random.choice((path, b"", b"?q=/x"))


def _chunks(random: Random, body: Tokens) -> None:
    for _ in range(random.randint(0, 3)):
        data = _body(random)
        if data:
            size = random.choice((b"%x", b"%X", b"0%x", b"%08x")) % len(data)
            body += (size + random.choice(EXTENSIONS), b"\r\n", data, b"\r\n")
    body += (b"0" + random.choice(EXTENSIONS), b"\r\n")
    while random.random() < 0.25:
        body += (random.choice(TRAILERS), b"\r\n")
    body.append(b"\r\n")


def _body(random: Random) -> bytes:
    return random.choice(BODIES) if random.random() < 0.996 else LARGE
