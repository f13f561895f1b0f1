"""Where nginx and HAProxy do otherwise than a row says, what they do then, and why we don't.

As of Debian 12's nginx 1.22 and HAProxy 2.6, configured as their manuals say (``doors``).  Neither
is wrong in all of this: much is the configuration's affair there, or a liberty of the RFCs.
"""

from __future__ import annotations

from typing import NamedTuple

from tests.e2e.proxy.reasons import (
    ABORT,
    BAD_REPLIES,
    BARE,
    BLANK_NAMES,
    BODILESS,
    CODING_WINS,
    CONNECT,
    EXPECT,
    FOLDS,
    HEADERS,
    HOP,
    HOSTS,
    IDENTITY,
    INTERIM,
    LINES,
    MAX_FORWARDS,
    NO_ANSWER,
    NO_HOST,
    NO_VIA,
    NUL,
    OLD_CHUNKS,
    PROXY_AUTH,
    REFRAMED,
    RETRIES,
    STATUSES,
    STRICTER,
    TARGETS,
    THEIRS,
    TRACE,
    TRAILERS,
    TRUNCATED,
    TUNNEL,
    UNDERSCORES,
    UPGRADE,
    VERSIONS,
    WAITS,
    Reason,
)

__all__ = ["DIFFERENCES", "Difference"]


class Difference(NamedTuple):
    """``seen`` is the beginning of the mismatch that a row ends in."""

    seen: str
    reason: Reason


NGINX: dict[Reason, dict[str, str]] = {
    HOP: {
        "01-own-fields": "the upstream got the fields [b'proxy-connection', b'trailer', ",
        "01-nominated": "the upstream got the fields [b'x-one', b'x-two']",
        "01-response": "the client got the fields [b'x-one', b'x-two', b'proxy-connect",
    },
    IDENTITY: {
        "01-identity": "the upstream got b'x-forwarded-for' as [b'6.6.6.6, 127.0.0.1']",
        "01-trusted": "the upstream got b'x-forwarded-proto' as [b'http']",
    },
    PROXY_AUTH: {
        "02-request": "the upstream got the fields [b'proxy-authorization']",
        "02-response": "the client got the fields [b'proxy-authenticate', b'proxy-auth",
    },
    TRAILERS: {
        "03-trailers": "the upstream got b'te' as []",
        "04-request": "the upstream got a body framed by length",
        "04-request-forbidden": "the upstream got the trailers ()",
        "04-response": "the client got the trailers ()",
        "04-response-forbidden": "the client got the trailers ()",
    },
    EXPECT: {
        "05-nobody": "the client got status 100",
        "05-unknown": "the upstream got b'GET / HTTP/1.1'",
    },
    INTERIM: {
        "06-early-hints": "nothing instead of a request at the upstream",
        "06-http-1.0": "the client got status 103",
    },
    UPGRADE: {
        "07-unasked": "the client got status 101",
        "07-with-body": "the client got status 101",
        "07-not-nominated": "the upstream got the fields [b'upgrade']",
        "07-http-1.0": "the upstream got the fields [b'upgrade']",
    },
    TUNNEL: {
        "34-tunnel": "the client got the end instead of 4 bytes at the client",
        "34-tunnel-server": "nothing instead of b'more' at the upstream",
    },
    BODILESS: {
        "08-204": "the client got the fields [b'content-length']",
        "08-103": "the client got the fields [b'content-length']",
        "08-head-with-body": "nothing instead of the end at the upstream",
    },
    REFRAMED: {
        "09-request": "the upstream got a body framed by length",
        "09-no-body": "the upstream got b'content-length' as []",
    },
    BAD_REPLIES: {
        "10-response": "the client got status 200",
        "11-response-gzip": "the client got status 200",
        "11-response-unknown": "the client got status 200",
        "12-response-two": "the client got status 200",
        "12-response-plus": "nothing instead of a response at the client",
        "12-response-empty": "nothing instead of a response at the client",
        "18-response-lf": "the client got status 200",
        "19-response-name": "the client got status 204",
    },
    STRICTER: {
        "12-equal": "the client got b'HTTP/1.1 400 Bad Request'",
        "14-asterisk": "the client got b'HTTP/1.1 400 Bad Request'",
    },
    HOSTS: {
        "13-userinfo": "the upstream got b'GET / HTTP/1.1'",
        "13-comma": "the upstream got b'GET / HTTP/1.1'",
        "13-port": "the upstream got b'GET / HTTP/1.1'",
        "13-bracket": "the upstream got b'GET / HTTP/1.1'",
        "13-percent": "the upstream got b'GET / HTTP/1.1'",
        "13-absolute": "the upstream got b'host' as [b'a']",
    },
    TARGETS: {
        "14-options-absolute": "the upstream got the line b'OPTIONS / HTTP/1.1'",
        "14-scheme": "the upstream got b'GET / HTTP/1.1'",
        "31-fragment": "the upstream got b'GET /a#b HTTP/1.1'",
        "31-not-ascii": "the upstream got b'GET /caf\\xc3\\xa9 HTTP/1.1'",
    },
    NO_HOST: {
        "13-http-1.0": "the upstream got b'host' as []",
    },
    MAX_FORWARDS: {
        "15-max-forwards": "the upstream got b'max-forwards' as [b'5']",
        "15-last-hop": "the upstream got b'OPTIONS / HTTP/1.1'",
    },
    BLANK_NAMES: {
        "17-response": "the client got b'x-a' as []",
    },
    BARE: {
        "18-cr-before-end": "the upstream got b'GET / HTTP/1.1'",
        "18-lf": "the upstream got b'GET / HTTP/1.1'",
        "18-lf-line": "the upstream got b'GET / HTTP/1.1'",
        "18-lf-only": "the upstream got b'GET / HTTP/1.1'",
    },
    LINES: {
        "19-soh": "the upstream got b'GET / HTTP/1.1'",
        "19-vt": "the upstream got b'GET / HTTP/1.1'",
        "19-del": "the upstream got b'GET / HTTP/1.1'",
        "19-name-paren": "the upstream got b'GET / HTTP/1.1'",
        "19-name-not-ascii": "the upstream got b'GET / HTTP/1.1'",
        "19-name-slash": "the upstream got b'GET / HTTP/1.1'",
        "19-no-colon": "the upstream got b'GET / HTTP/1.1'",
    },
    VERSIONS: {
        "21-0.9": "the upstream got b'GET / HTTP/1.1'",
        "21-digits": "the upstream got b'GET / HTTP/1.1'",
    },
    TRUNCATED: {
        "22-short-1.0-end": "the client got the end instead of a reset",
        "22-short-1.0-reset": "the client got the end instead of a reset",
    },
    WAITS: {
        "23-early": "the client got no Connection: close",
    },
    OLD_CHUNKS: {
        "22-chunks-1.0": "the client got status 200",
    },
    RETRIES: {
        "25-answered": "the upstream got b'GET / HTTP/1.1'",
    },
    NO_VIA: {
        "27-request": "the upstream got Via with [b'1.0 fred']",
        "27-version": "the upstream got Via with [b'1.0 fred']",
    },
    HEADERS: {
        "28-kept": "the client got b'date' as [b'",
        "28-no-server": "the client got the fields [b'server']",
    },
    UNDERSCORES: {
        "32-others": "the upstream got b'x_custom' as []",
    },
    STATUSES: {
        "22-malformed-chunk": "the client got the end instead of a response at the client",
        "33-413": "nothing instead of the end at the client",
        "33-408": "the client got the end instead of a response at the client",
        "33-502": "nothing instead of a response at the client",
        "33-502-head": "nothing instead of a response at the client",
        "33-503": "the client got status 502",
    },
    ABORT: {
        "34-half-close": "the client got the end",
    },
    CONNECT: {
        "35-connect": "the client got status 400",
    },
}

HAPROXY: dict[Reason, dict[str, str]] = {
    HOP: {
        "01-own-fields": "the upstream got the fields [b'keep-alive', b'proxy-connection",
        "01-nominated": "the upstream got the fields [b'x-one', b'x-two']",
        "01-response": "the client got the fields [b'x-one', b'x-two', b'keep-alive', ",
        "03-others": "the upstream got the fields [b'connection']",
    },
    IDENTITY: {
        "01-identity": "the upstream got b'x-forwarded-for' as [b'6.6.6.6', b'127.0.0.",
        "01-trusted": "the upstream got b'forwarded' with [b'for=6.6.6.6']",
    },
    PROXY_AUTH: {
        "02-request": "the upstream got the fields [b'proxy-authorization']",
        "02-response": "the client got the fields [b'proxy-authenticate', b'proxy-auth",
    },
    TRAILERS: {
        "03-trailers": "the upstream got b'te' as []",
        "04-request-forbidden": "the client got b'HTTP/1.1 400 Bad request'",
        "04-response-forbidden": "the client got the trailers ()",
    },
    EXPECT: {
        "05-unknown": "the upstream got b'GET / HTTP/1.1'",
        "05-http-1.0": "the upstream got the fields [b'expect']",
    },
    INTERIM: {
        "06-http-1.0": "the client got status 103",
    },
    UPGRADE: {
        "07-not-nominated": "the upstream got the fields [b'upgrade']",
        "07-http-1.0": "the upstream got the fields [b'upgrade']",
    },
    TUNNEL: {
        "34-tunnel-server": "nothing instead of b'more' at the upstream",
    },
    REFRAMED: {
        "09-length": "the upstream got b'content-length' as [b'0005']",
        "09-no-body": "the upstream got b'content-length' as []",
    },
    CODING_WINS: {
        "10-length-first": "the upstream got b'POST / HTTP/1.1'",
        "10-chunked-first": "the upstream got b'POST / HTTP/1.1'",
        "11-http-1.0": "the upstream got b'POST / HTTP/1.0'",
    },
    BAD_REPLIES: {
        "10-response": "the client got status 200",
        "18-response-lf": "the client got status 200",
        "19-response-nul": "the client got status 204",
    },
    STRICTER: {
        "13-absolute": "the client got b'HTTP/1.1 400 Bad request'",
        "14-absolute-query": "the client got b'HTTP/1.1 400 Bad request'",
    },
    HOSTS: {
        "13-missing": "the upstream got b'GET / HTTP/1.1'",
        "13-twice": "the upstream got b'GET / HTTP/1.1'",
        "13-userinfo": "the upstream got b'GET / HTTP/1.1'",
        "13-path": "the upstream got b'GET / HTTP/1.1'",
        "13-comma": "the upstream got b'GET / HTTP/1.1'",
        "13-space": "the upstream got b'GET / HTTP/1.1'",
        "13-port": "the upstream got b'GET / HTTP/1.1'",
        "13-bracket": "the upstream got b'GET / HTTP/1.1'",
        "13-percent": "the upstream got b'GET / HTTP/1.1'",
    },
    TARGETS: {
        "14-options-absolute": "the upstream got the line b'OPTIONS http://a HTTP/1.1'",
        "14-asterisk-get": "the upstream got b'GET * HTTP/1.1'",
        "14-relative": "the upstream got b'GET a/b HTTP/1.1'",
        "14-scheme": "the upstream got b'GET ftp://a/ HTTP/1.1'",
        "14-userinfo": "the upstream got b'GET http://u:p@a/ HTTP/1.1'",
        "31-tab": "the upstream got b'GET /a HTTP/1.1'",
    },
    NO_HOST: {
        "13-http-1.0": "the upstream got b'host' as []",
    },
    MAX_FORWARDS: {
        "15-max-forwards": "the upstream got b'max-forwards' as [b'5']",
        "15-last-hop": "the upstream got b'OPTIONS / HTTP/1.1'",
    },
    TRACE: {
        "15-trace": "the upstream got b'TRACE / HTTP/1.1'",
    },
    FOLDS: {
        "16-fold": "the upstream got b'GET / HTTP/1.1'",
        "16-fold-tab": "the upstream got b'GET / HTTP/1.1'",
        "16-response": "the client got status 200",
    },
    BLANK_NAMES: {
        "17-response": "the client got b'x-a' as []",
    },
    BARE: {
        "18-lf": "the upstream got b'GET / HTTP/1.1'",
        "18-lf-line": "the upstream got b'GET / HTTP/1.1'",
        "18-lf-only": "the upstream got b'GET / HTTP/1.1'",
    },
    LINES: {
        "19-nul": "the upstream got b'GET / HTTP/1.1'",
        "19-soh": "the upstream got b'GET / HTTP/1.1'",
        "19-vt": "the upstream got b'GET / HTTP/1.1'",
        "19-del": "the upstream got b'GET / HTTP/1.1'",
    },
    VERSIONS: {
        "21-2.0": "the upstream got b'GET / HTTP/1.1'",
    },
    THEIRS: {
        "21-ours": "the upstream got the line b'GET / HTTP/1.0'",
        "21-1.0-chunks": "the client got the fields [b'transfer-encoding']",
        "21-1.0-keep-alive-chunks": "the client got a body framed by chunked",
        "22-length": "the client got the line b'HTTP/1.0 200 OK'",
        "22-to-the-end": "the client got a body framed by close",
    },
    TRUNCATED: {
        "22-short-1.0-end": "the client got the end instead of a reset",
        "22-short-1.0-reset": "the client got the end instead of a reset",
    },
    WAITS: {
        "23-early": "the client got no Connection: close",
    },
    OLD_CHUNKS: {
        "22-chunks-1.0": "the client got status 200",
    },
    NO_ANSWER: {
        "24-without-a-word": "the client got the end",
        "25-end": "the client got the end",
        "25-reset": "the client got the end",
        "25-body": "the client got the end",
        "25-post": "the client got the end",
        "25-answered": "the client got the end",
    },
    NO_VIA: {
        "27-request": "the upstream got Via with [b'1.0 fred']",
        "27-version": "the upstream got Via with [b'1.0 fred']",
    },
    HEADERS: {
        "28-added": "the client got b'date' as []",
    },
    NUL: {
        "30-nul": "the upstream got b'GET /a%00.txt HTTP/1.1'",
    },
    UNDERSCORES: {
        "32-underscores": "the upstream got the fields [b'x_forwarded_for', b'x-forwarded",
        "32-dots": "the upstream got the fields [b'x.forwarded.for', b'x.forwarded",
    },
    STATUSES: {
        "11-gzip": "the client got status 422",
        "33-414": "the client got status 400",
        "33-413": "the upstream got b'POST / HTTP/1.1'",
        "33-413-chunked": "the upstream got b'POST / HTTP/1.1'",
        "33-502-head": "nothing instead of the end at the client",
        "33-503": "the client got b'retry-after' as []",
    },
    ABORT: {
        "34-half-close": "the client got the body b'<html><body><h1>400",
    },
    CONNECT: {
        "35-connect": "the upstream got b'CONNECT a:443 HTTP/1.1'",
    },
}


def _spread(table: dict[Reason, dict[str, str]]) -> dict[str, Difference]:
    return {
        row: Difference(seen, reason)
        for reason, rows in table.items()
        for row, seen in rows.items()
    }


DIFFERENCES = {"nginx": _spread(NGINX), "haproxy": _spread(HAPROXY)}
