"""Valid answers of upstreams, as lists of tokens; the request they answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from random import Random

    from tests.fuzz.grammar import Tokens

__all__ = ["question", "reply"]

STATUSES = (
    (b"200", b"OK"), (b"200", b"OK"), (b"200", b""), (b"204", b"No Content"),
    (b"404", b"Not Found"), (b"304", b"Not Modified"), (b"500", b"Oh \xe9"), (b"301", b"Moved"),
    (b"206", b"Partial"),
    (b"101", b"Switching Protocols"), (b"503", b"Bad"), (b"426", b"Upgrade Required"),
)  # fmt: skip
FIELDS = (
    b"Server: x/1.0", b"Date: Tue, 01 Jan 2030 00:00:00 GMT", b"Set-Cookie: a=b", b"X-A:",
    b"Set-Cookie: c=d", b"Content-Type: text/html; charset=x", b"Connection: keep-alive",
    b"X-B: \xff",
    b"Connection: close", b"Keep-Alive: timeout=5", b"Location: /x", b"Cache-Control: no-store",
    b"Connection: x-a", b"Connection: set-cookie, content-length", b"Vary: *", b"Trailer: x-t",
    b"Proxy-Authenticate: Basic", b"Proxy-Connection: close", b"Via: 1.1 other", b"X-B : blank",
)  # fmt: skip
NEXT = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"
BODIES = (b"", b"hello", NEXT, b"0\r\n\r\n" + NEXT, b"\r\n", b"\x00\n", b"z" * 3000)
LARGE = b"L" * 70_000  # more than leaves in one send
TRAILERS = (b"X-T: 1", b"Content-Length: 5", b"Set-Cookie: evil=1", b"Connection: close")


def question(random: Random) -> tuple[bytes, bytes, bool, bytes]:
    """Method, version, whether it offers an upgrade, and the client's stream with a second one."""
    method = random.choice((b"GET", b"GET", b"GET", b"HEAD", b"POST", b"DELETE"))
    version = b"HTTP/1.0" if random.random() < 0.15 else b"HTTP/1.1"
    upgrade = version == b"HTTP/1.1" and method != b"POST" and random.random() < 0.1
    fields = b"Connection: upgrade\r\nUpgrade: x\r\n" if upgrade else b"Connection: keep-alive\r\n"
    body = b"Content-Length: 5\r\n\r\nhello" if method == b"POST" else b"\r\n"
    first = b"%b / %b\r\nHost: a\r\n%b%b" % (method, version, fields, body)
    second = b"GET /second HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    return method, version, upgrade, first + second


def reply(random: Random, method: bytes, *, upgrade: bool) -> tuple[Tokens, bool]:
    """A final response, perhaps behind interim ones, and whether the connection ends behind it."""
    tokens: Tokens = []
    while random.random() < 0.12:
        status = random.choice((b"100", b"103", b"102"))
        tokens += (b"HTTP/1.1", b" ", status, b" ", b"Early", b"\r\n")
        if status == b"103":
            tokens += (b"Link: </a>; rel=preload", b"\r\n")
        tokens.append(b"\r\n")
    version = b"HTTP/1.0" if random.random() < 0.12 else b"HTTP/1.1"
    status, reason = random.choice(STATUSES)
    if status == b"101" and not (upgrade or random.random() < 0.2):
        status, reason = b"200", b"OK"
    if status == b"101":
        version = b"HTTP/1.1"
    tokens += (version, b" ", status, b" ", reason, b"\r\n")
    fields = [random.choice(FIELDS) for _ in range(int(random.expovariate(0.5)))]
    if status == b"101":
        fields += [b"Connection: upgrade", b"Upgrade: x"]
    body: Tokens = []
    dice = random.random()
    ends = random.random() < 0.3
    data = random.choice(BODIES) if random.random() < 0.99 else LARGE
    bodiless = method == b"HEAD" or status in {b"204", b"304", b"101"}
    if dice < 0.55:
        fields.append(b"Content-Length: %d" % len(data))
        body.append(b"" if bodiless else data)
    elif dice < 0.85 and version == b"HTTP/1.1":
        fields.append(b"Transfer-Encoding: chunked")
        if not bodiless:
            _chunks(random, body)
    else:
        ends = True
        body.append(b"" if bodiless else data)
    random.shuffle(fields)
    for line in fields:
        tokens += (line, b"\r\n")
    tokens.append(b"\r\n")
    tokens += [each for each in body if each]
    return tokens, ends


def _chunks(random: Random, body: Tokens) -> None:
    for _ in range(random.randint(0, 3)):
        data = random.choice(BODIES)
        if data:
            body += (b"%x" % len(data) + random.choice((b"", b";a=b")), b"\r\n", data, b"\r\n")
    body += (b"0", b"\r\n")
    if random.random() < 0.2:
        body += (random.choice(TRAILERS), b"\r\n")
    body.append(b"\r\n")
