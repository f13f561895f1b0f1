"""Requests that two parsers could read in two ways, each with another one hidden in it.

A cell is what a client sends at once: /first, in which or behind which there is /smuggled, and
/last, which ends the connection.  Its outcome names what the upstream gets: "first, last" where
/smuggled was a body, "first, smuggled, last" where it was sent as a request, and "refused".

By group:

* te: a length and a transfer coding that may or may not be one.  In ``-cl`` the hidden request is
  inside of the body by its length and behind it by chunks, in ``-te`` the other way round;
* cl: a length that may or may not be one; the hidden request is the body;
* chunk: chunks that may or may not be some; the hidden request is in one, or behind them;
* head: lines that end, or begin, where they shouldn't.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

__all__ = ["CELLS", "GROUPS", "Cell"]

SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
LAST = b"GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
SIZE = len(SMUGGLED)
VERSIONS = (b"1.0", b"1.1")

REFUSED = "refused"
BODY = "first, last"
REQUEST = "first, smuggled, last"
REST = "first, smuggled, refused"
"""By length, what is behind the hidden request is the end of the chunks, which is no request."""


@final
@dataclass(frozen=True, slots=True)
class Cell:
    """One request; ``outcome``: as in the module's docstring."""

    id: str
    data: bytes
    outcome: str

    @property
    def group(self) -> str:
        return self.id.partition("-")[0]


def post(version: bytes, *lines: bytes, body: bytes) -> bytes:
    """The first request, on a connection that stays."""
    keep = [b"Connection: keep-alive"] if version == b"1.0" else []
    head = [b"POST /first HTTP/" + version, b"Host: a", *keep, *lines]
    return b"\r\n".join(head) + b"\r\n\r\n" + body + LAST


CODINGS = {
    "plain": b"Transfer-Encoding: chunked",
    "capitals": b"TRANSFER-ENCODING: CHUNKED",
    "tab": b"Transfer-Encoding:\tchunked",
    "blanks": b"Transfer-Encoding:  chunked \t",
    "identity": b"Transfer-Encoding: identity",
    "unknown": b"Transfer-Encoding: xchunked",
    "prefix": b"Transfer-Encoding: chunkedx",
    "empty": b"Transfer-Encoding:",
    "not-last": b"Transfer-Encoding: chunked, identity",
    "last": b"Transfer-Encoding: identity, chunked",
    "comma": b"Transfer-Encoding: ,chunked",
    "twice": b"Transfer-Encoding: chunked, chunked",
    "parameter": b"Transfer-Encoding: chunked;q=1",
    "quoted": b'Transfer-Encoding: "chunked"',
    "blank-inside": b"Transfer-Encoding: chun ked",
    "nul-behind": b"Transfer-Encoding: chunked\0",
    "nul-inside": b"Transfer-Encoding: chu\0nked",
    "vt": b"Transfer-Encoding: \x0bchunked",
    "ff": b"Transfer-Encoding: \x0cchunked",
    "del": b"Transfer-Encoding: chunked\x7f",
    "nbsp": b"Transfer-Encoding: \xa0chunked",
    "blank-colon": b"Transfer-Encoding : chunked",
    "tab-colon": b"Transfer-Encoding\t: chunked",
    "nul-colon": b"Transfer-Encoding\0: chunked",
    "nul-first": b"\0Transfer-Encoding: chunked",
    "vt-first": b"\x0bTransfer-Encoding: chunked",
    "no-colon": b"Transfer-Encoding chunked",
    "semicolon": b"Transfer-Encoding; chunked",
    "soft-hyphen": b"Transfer\xadEncoding: chunked",
    "fold-first": b"X: y\r\n Transfer-Encoding: chunked",
    "fold-value": b"Transfer-Encoding:\r\n chunked",
    "fold-tab": b"Transfer-Encoding:\r\n\tchunked",
    "fold-behind": b"Transfer-Encoding: chunked\r\n , identity",
    "lf-first": b"X: y\nTransfer-Encoding: chunked",
    "lf-behind": b"Transfer-Encoding: chunked\nX: y",
    "lf-value": b"Transfer-Encoding:\n chunked",
    "cr-first": b"X: y\rTransfer-Encoding: chunked",
    "cr-behind": b"Transfer-Encoding: chunked\r",
    "two-first": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: cow",
    "two-last": b"Transfer-Encoding: cow\r\nTransfer-Encoding: chunked",
    "two-same": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    "nominated": b"Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked",
}
NO_CODINGS = {
    "underscore": b"Transfer_Encoding: chunked",
    "dot": b"Transfer.Encoding: chunked",
    "x": b"X-Transfer-Encoding: chunked",
    "te": b"TE: chunked",
    "content": b"Content-Encoding: chunked",
}
BY_LENGTH = b"0\r\n\r\n" + SMUGGLED
SIZE_LINE = b"%x\r\n" % SIZE
CHUNKED = SIZE_LINE + SMUGGLED + b"\r\n0\r\n\r\n"


def _te(version: bytes) -> list[Cell]:
    ends = version.decode()
    cells = []
    for name, coding in (CODINGS | NO_CODINGS).items():
        known = name in CODINGS
        for length, body, kind, read in (
            (len(BY_LENGTH), BY_LENGTH, "cl", BODY),
            (len(SIZE_LINE), CHUNKED, "te", REST),
        ):
            data = post(version, b"Content-Length: %d" % length, coding, body=body)
            cells.append(Cell(f"te-{name}-{kind}-{ends}", data, REFUSED if known else read))
    return cells


N = b"%d" % SIZE
LENGTHS = {
    "plain": (b"Content-Length: " + N, BODY),
    "tab": (b"Content-Length:\t" + N + b"\t ", BODY),
    "zeros": (b"Content-Length: 000" + N, BODY),
    "two-same": (b"Content-Length: " + N + b"\r\nContent-Length: " + N, BODY),
    "list-same": (b"Content-Length: " + N + b", " + N, BODY),
    "nominated": (b"Connection: Content-Length\r\nContent-Length: " + N, BODY),
    "two-zero-first": (b"Content-Length: 0\r\nContent-Length: " + N, REFUSED),
    "two-zero-last": (b"Content-Length: " + N + b"\r\nContent-Length: 0", REFUSED),
    "list": (b"Content-Length: 0, " + N, REFUSED),
    "plus": (b"Content-Length: +" + N, REFUSED),
    "minus": (b"Content-Length: -" + N, REFUSED),
    "hex": (b"Content-Length: 0x%x" % SIZE, REFUSED),
    "octal": (b"Content-Length: 0o%o" % SIZE, REFUSED),
    "underscores": (b"Content-Length: 0_" + N, REFUSED),
    "fraction": (b"Content-Length: " + N + b".0", REFUSED),
    "exponent": (b"Content-Length: " + N + b"e0", REFUSED),
    "letter": (b"Content-Length: " + N + b"f", REFUSED),
    "semicolon": (b"Content-Length: " + N + b";", REFUSED),
    "comma": (b"Content-Length: " + N + b",", REFUSED),
    "quoted": (b'Content-Length: "' + N + b'"', REFUSED),
    "empty": (b"Content-Length:", REFUSED),
    "blank-inside": (b"Content-Length: 0 " + N, REFUSED),
    "nul": (b"Content-Length: " + N + b"\0", REFUSED),
    "vt": (b"Content-Length: \x0b" + N, REFUSED),
    "nbsp": (b"Content-Length: \xa0" + N, REFUSED),
    "superscript": (b"Content-Length: " + N + b"\xb2", REFUSED),
    "wraps-64": (b"Content-Length: %d" % (2**64 + SIZE), REFUSED),
    "wraps-32": (b"Content-Length: %d" % (10**30 + SIZE), REFUSED),
    "blank-colon": (b"Content-Length : " + N, REFUSED),
    "tab-colon": (b"Content-Length\t: " + N, REFUSED),
    "nul-colon": (b"Content-Length\0: " + N, REFUSED),
    "no-colon": (b"Content-Length " + N, REFUSED),
    "fold-first": (b"X: y\r\n Content-Length: " + N, REFUSED),
    "fold-value": (b"Content-Length:\r\n " + N, REFUSED),
    "fold-behind": (b"Content-Length: " + N + b"\r\n 0", REFUSED),
    "lf-first": (b"X: y\nContent-Length: " + N, REFUSED),
    "cr-first": (b"X: y\rContent-Length: " + N, REFUSED),
    "cr-behind": (b"Content-Length: " + N + b"\r", REFUSED),
    "underscore": (b"Content_Length: " + N, REQUEST),
    "dot": (b"Content.Length: " + N, REQUEST),
    "x": (b"X-Content-Length: " + N, REQUEST),
    "expect": (b"Expect: 100-continue\r\nContent-Length: " + N, BODY),
    "upgrade": (b"Connection: upgrade\r\nUpgrade: chat\r\nContent-Length: " + N, BODY),
    "h2c": (
        b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
        b"Content-Length: " + N,
        BODY,
    ),
}


def _cl(version: bytes) -> list[Cell]:
    return [
        Cell(f"cl-{name}-{version.decode()}", post(version, line, body=SMUGGLED), outcome)
        for name, (line, outcome) in LENGTHS.items()
    ]


S = b"%x" % SIZE
DATA = b"\r\n" + SMUGGLED + b"\r\n"
END = b"0\r\n\r\n"
CHUNKS = {
    "plain": (S + DATA + END, BODY),
    "capitals": (S.upper() + DATA + END, BODY),
    "zeros": (b"000" + S + DATA + b"0000\r\n\r\n", BODY),
    "extension": (S + b";a=b" + DATA + END, BODY),
    "extension-blank": (S + b"; a" + DATA + END, BODY),
    "trailer": (S + DATA + b"0\r\nX: y\r\n\r\n", BODY),
    "trailer-length": (S + DATA + b"0\r\nContent-Length: 9\r\n\r\n", BODY),
    "trailer-coding": (S + DATA + b"0\r\nTransfer-Encoding: cow\r\n\r\n", BODY),
    "trailer-host": (S + DATA + b"0\r\nHost: evil\r\n\r\n", BODY),
    "behind": (END + SMUGGLED, REQUEST),
    "extension-lf": (S + b";a\nb" + DATA + END, REFUSED),
    "extension-cr": (S + b";a\rb" + DATA + END, REFUSED),
    "extension-nul": (S + b";a\0b" + DATA + END, REFUSED),
    "extension-quoted": (S + b';a="\r\n"' + DATA + END, REFUSED),
    "lf": (S + b"\n" + SMUGGLED + b"\r\n" + END, REFUSED),
    "cr": (S + b"\r" + SMUGGLED + b"\r\n" + END, REFUSED),
    "hex": (b"0x" + S + DATA + END, REFUSED),
    "plus": (b"+" + S + DATA + END, REFUSED),
    "minus": (b"-" + S + DATA + END, REFUSED),
    "underscore": (b"0_" + S + DATA + END, REFUSED),
    "blank-first": (b" " + S + DATA + END, REFUSED),
    "blank-behind": (S + b" " + DATA + END, REFUSED),
    "tab-behind": (S + b"\t" + DATA + END, REFUSED),
    "empty": (DATA + END, REFUSED),
    "comma": (S + b"," + DATA + END, REFUSED),
    "wraps-64": (b"1%016x" % SIZE + DATA + END, REFUSED),
    "wraps-32": (b"100000000000000%08x" % SIZE + DATA + END, REFUSED),
    "data-lf": (S + b"\r\n" + SMUGGLED + b"\n" + END, REFUSED),
    "data-cr": (S + b"\r\n" + SMUGGLED + b"\r" + END, REFUSED),
    "data-open": (S + b"\r\n" + SMUGGLED + END, REFUSED),
    "data-other": (S + b"\r\n" + SMUGGLED + b"xx" + END, REFUSED),
    "end-lf": (b"0\n\n" + SMUGGLED, REFUSED),
    "end-crlf-lf": (b"0\r\n\n" + SMUGGLED, REFUSED),
    "end-lf-crlf": (b"0\n\r\n" + SMUGGLED, REFUSED),
    "end-open": (b"0\r\n" + SMUGGLED, REFUSED),
    "end-cr": (b"0\r\n\r" + SMUGGLED, REFUSED),
    "trailer-lf": (b"0\r\nX: y\n\r\n" + SMUGGLED, REFUSED),
    "trailer-lf-lf": (b"0\r\nX: y\n\n" + SMUGGLED, REFUSED),
    "trailer-blank": (b"0\r\nX : y\r\n\r\n" + SMUGGLED, REFUSED),
    "trailer-fold": (b"0\r\nX: y\r\n z\r\n\r\n" + SMUGGLED, REFUSED),
    "trailer-nul": (b"0\r\nX: \0\r\n\r\n" + SMUGGLED, REFUSED),
}


def _chunk(version: bytes) -> list[Cell]:
    # HTTP/1.0 has no chunks
    coding = b"Transfer-Encoding: chunked"
    return [
        Cell(
            f"chunk-{name}-{version.decode()}",
            post(version, coding, body=body),
            outcome if version == b"1.1" else REFUSED,
        )
        for name, (body, outcome) in CHUNKS.items()
    ]


# {v} is the version, {s} the hidden request
HEADS = {
    "plain": ("GET /first {v}\r\nHost: a{k}\r\n\r\n{s}", REQUEST),
    "method": ("get /first {v}\r\nHost: a{k}\r\n\r\n{s}", REQUEST),
    "absolute": ("GET http://a/first {v}\r\nHost: b{k}\r\n\r\n{s}", REQUEST),
    "get-body": (f"GET /first {{v}}\r\nHost: a{{k}}\r\nContent-Length: {SIZE}\r\n\r\n{{s}}", BODY),
    "delete-body": (
        f"DELETE /first {{v}}\r\nHost: a{{k}}\r\nContent-Length: {SIZE}\r\n\r\n{{s}}", BODY,
    ),
    "encoded": ("GET /first?%0d%0a%0d%0a {v}\r\nHost: a{k}\r\n\r\n{s}",
                "first?%0d%0a%0d%0a, smuggled, last"),
    "crlf-before": ("\r\nGET /first {v}\r\nHost: a{k}\r\n\r\n{s}", REQUEST),
    "crlf-between": ("GET /first {v}\r\nHost: a{k}\r\n\r\n\r\n{s}", REQUEST),
    "lf-before": ("\nGET /first {v}\r\nHost: a{k}\r\n\r\n{s}", REFUSED),
    "cr-before": ("\rGET /first {v}\r\nHost: a{k}\r\n\r\n{s}", REFUSED),
    "lf-between": ("GET /first {v}\r\nHost: a{k}\r\n\r\n\n{s}", "first, refused"),
    "nul-between": ("GET /first {v}\r\nHost: a{k}\r\n\r\n\0{s}", "first, refused"),
    "lf-all": ("GET /first {v}\nHost: a\n\n{s}", REFUSED),
    "lf-line": ("GET /first {v}\nHost: a{k}\r\n\r\n{s}", REFUSED),
    "lf-end": ("GET /first {v}\r\nHost: a{k}\r\n\n{s}", REFUSED),
    "lf-lf": ("GET /first {v}\r\nHost: a{k}\n\n{s}", REFUSED),
    "lf-crlf": ("GET /first {v}\r\nHost: a{k}\n\r\n{s}", REFUSED),
    "cr-cr": ("GET /first {v}\r\nHost: a{k}\r\r{s}", REFUSED),
    "cr-crlf": ("GET /first {v}\r\nHost: a{k}\r\r\n\r\n{s}", REFUSED),
    "value-lf": ("GET /first {v}\r\nHost: a{k}\r\nX: y\nZ: z\r\n\r\n{s}", REFUSED),
    "value-lf-request": ("GET /first {v}\r\nHost: a{k}\r\nX: y\n\n{s}", REFUSED),
    "value-cr-request": ("GET /first {v}\r\nHost: a{k}\r\nX: y\r\r{s}", REFUSED),
    "value-nul": ("GET /first {v}\r\nHost: a{k}\r\nX: y\0z\r\n\r\n{s}", REFUSED),
    "name-nul": ("GET /first {v}\r\nHost: a{k}\r\nX\0: y\r\n\r\n{s}", REFUSED),
    "name-blank": ("GET /first {v}\r\nHost: a{k}\r\nX Y: z\r\n\r\n{s}", REFUSED),
    "name-empty": ("GET /first {v}\r\nHost: a{k}\r\n: y\r\n\r\n{s}", REFUSED),
    "no-colon": ("GET /first {v}\r\nHost: a{k}\r\nX\r\n\r\n{s}", REFUSED),
    "fold": ("GET /first {v}\r\nHost: a{k}\r\nX: y\r\n z\r\n\r\n{s}", REFUSED),
    "fold-line": ("GET /first {v}\r\n X: y\r\nHost: a{k}\r\n\r\n{s}", REFUSED),
    "fold-blank": ("GET /first {v}\r\nHost: a{k}\r\n \r\n\r\n{s}", REFUSED),
    "target-two": ("GET /first /smuggled {v}\r\nHost: a{k}\r\n\r\n{s}", REFUSED),
    "target-lf": ("GET /first\nGET /smuggled {v}\r\nHost: a{k}\r\n\r\n{s}", REFUSED),
    "target-cr": ("GET /first\r/smuggled {v}\r\nHost: a{k}\r\n\r\n{s}", REFUSED),
    "target-nul": ("GET /first\0/smuggled {v}\r\nHost: a{k}\r\n\r\n{s}", REFUSED),
    "target-tab": ("GET\t/first\t{v}\r\nHost: a{k}\r\n\r\n{s}", REFUSED),
    "target-blanks": ("GET  /first  {v}\r\nHost: a{k}\r\n\r\n{s}", REFUSED),
    "version-blank": ("GET /first {v} \r\nHost: a{k}\r\n\r\n{s}", REFUSED),
    "version-nul": ("GET /first {v}\0\r\nHost: a{k}\r\n\r\n{s}", REFUSED),
    "version-digit": ("GET /first {v}0\r\nHost: a{k}\r\n\r\n{s}", REFUSED),
    "version-two": ("GET /first {v} {v}\r\nHost: a{k}\r\n\r\n{s}", REFUSED),
    "version-none": ("GET /first\r\nHost: a{k}\r\n\r\n{s}", REFUSED),
    "version-2": ("GET /first HTTP/2.0\r\nHost: a{k}\r\n\r\n{s}", REFUSED),
    "preface": ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n{s}", REFUSED),
    "blank-before": (" GET /first {v}\r\nHost: a{k}\r\n\r\n{s}", REFUSED),
    "method-nul": ("G\0ET /first {v}\r\nHost: a{k}\r\n\r\n{s}", REFUSED),
    "host-two": ("GET /first {v}\r\nHost: a\r\nHost: b{k}\r\n\r\n{s}", REFUSED),
    "host-comma": ("GET /first {v}\r\nHost: a,b{k}\r\n\r\n{s}", REFUSED),
    "host-fold": ("GET /first {v}\r\nHost:\r\n a{k}\r\n\r\n{s}", REFUSED),
    "host-userinfo": ("GET /first {v}\r\nHost: b@a{k}\r\n\r\n{s}", REFUSED),
    "connect": ("CONNECT /first {v}\r\nHost: a{k}\r\n\r\n{s}", REFUSED),
    "connect-body": (f"CONNECT a:80 {{v}}\r\nHost: a{{k}}\r\nContent-Length: {SIZE}\r\n\r\n{{s}}",
                     REFUSED),
}  # fmt: skip


def _head(version: bytes) -> list[Cell]:
    keep = "\r\nConnection: keep-alive" if version == b"1.0" else ""
    ends = version.decode()
    cells = []
    for name, (text, outcome) in HEADS.items():
        data = text.format(v=f"HTTP/{ends}", k=keep, s=SMUGGLED.decode())
        cells.append(Cell(f"head-{name}-{ends}", data.encode("latin-1") + LAST, outcome))
    return cells


CELLS = [
    cell for group in (_te, _cl, _chunk, _head) for version in VERSIONS for cell in group(version)
]
GROUPS = ("te", "cl", "chunk", "head")
