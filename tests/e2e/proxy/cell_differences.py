"""Where the peers make something else of a cell, and why we don't.

By reason, by outcome: the cells, of both versions unless one is named.
"""

from __future__ import annotations

from typing import Final

from tests.e2e.proxy.cells import CELLS
from tests.e2e.proxy.reasons import Reason

__all__ = ["CELL_DIFFERENCES", "UNSTABLE"]

UNSTABLE = {"haproxy": {"chunk-trailer-blank-1.0", "chunk-trailer-blank-1.1"}}
"""HAProxy 2.6 refuses these in some of its processes, and in others doesn't."""

BLANKS: Final = Reason(
    "several blanks or tabs may stand in a request line (M3 lets them)",
    "one rule for where a target ends is one more than an attacker can use",
)
BOTH: Final = Reason(
    "a coding beats a length, and the connection ends (M6.1 lets it)",
    "who is in front of us may have gone by the length: an error is what both can agree on (M6.3)",
)
CONNECT: Final = Reason(
    "CONNECT is a request like others, up to its answer",
    "nobody behind a reverse proxy is meant to be a tunnel: 501",
)
CR: Final = Reason(
    "a CR in front of a CRLF is nothing",
    "a CR that ends no line is a SP or an error (M2.2), and some take it for the end",
)
EXTENSIONS: Final = Reason(
    "what stands behind a chunk's size is skipped unread",
    "blanks and controls there are read in other ways elsewhere (M7.1.1, CVE-2025-43859)",
)
FOLDS: Final = Reason(
    "folded lines are joined (M5.2 lets it)",
    "who doesn't join them sees another field: 400, as M5.2 offers",
)
HOSTS: Final = Reason(
    "a Host may be nearly anything",
    "what is behind us makes choices, and links, of it: S7.2 asks for a valid one, and 400",
)
HTTP2: Final = Reason(
    "the preface of HTTP/2 begins HTTP/2",
    "we don't speak it, and say so",
)
LF: Final = Reason(
    "a LF alone ends a line (M2.2 lets it)",
    "who doesn't take it for an end sees one line where we see two: refused",
)
NAMES: Final = Reason(
    "a line that is no field is dropped, or passed over",
    "it was meant as one, and who is next may see which: refused (S5.1)",
)
NUL: Final = Reason(
    "a NUL in a value is passed on",
    "programs in C end there: refused, as S5.5 offers",
)
OLD: Final = Reason(
    "chunks may come by HTTP/1.0, and then the connection ends",
    "the framing is faulty (M6.1): who wrote it can't have meant it",
)
STRICTER: Final = Reason(
    "refused",
    "it is valid: a tab is OWS (S5.6.3), equal lengths are one (S8.6), methods have any "
    "letters (S9.1), any method may have a body, an absolute target wins over Host "
    "(M3.2.2), a bad trailer may be dropped (S6.5.1)",
)
TRAILERS: Final = Reason(
    "trailers are skipped unread",
    "where they end, the next request begins: they are held to the same rules as fields",
)
VERSIONS: Final = Reason(
    "a version may be 0.9, 1.10, 2.0, or have a blank behind it",
    "it decides about framing: one digit each, and 1 (M2.3)",
)

NGINX = {
    BLANKS: {
        "first, smuggled, last": "head-target-blanks",
    },
    CR: {
        "first, last": "cl-cr-behind",
        "first, smuggled, last": "head-cr-before head-cr-crlf",
    },
    EXTENSIONS: {
        "first, last": ("chunk-blank-behind-1.1 chunk-extension-nul-1.1 chunk-tab-behind-1.1"),
    },
    HOSTS: {
        "first, smuggled, last": "head-host-comma head-host-userinfo",
    },
    LF: {
        "first": "head-lf-all-1.0",
        "first, last": "chunk-data-lf-1.1 chunk-lf-1.1 cl-lf-first",
        "first, smuggled, last": (
            "chunk-end-crlf-lf-1.1 chunk-end-lf-1.1 chunk-end-lf-crlf-1.1 "
            "chunk-trailer-lf-1.1 chunk-trailer-lf-lf-1.1 head-lf-all-1.1 "
            "head-lf-before head-lf-between head-lf-crlf head-lf-end "
            "head-lf-lf head-lf-line head-value-lf head-value-lf-request"
        ),
    },
    NAMES: {
        "first, last": "te-soft-hyphen-cl",
        "first, smuggled, last": "head-no-colon",
        "first, smuggled, refused": "te-soft-hyphen-te",
    },
    STRICTER: {
        "refused": "cl-list-same cl-tab cl-two-same head-method",
    },
    TRAILERS: {
        "first, last": "chunk-end-open-1.1",
        "first, smuggled, last": (
            "chunk-trailer-blank-1.1 chunk-trailer-fold-1.1 chunk-trailer-nul-1.1"
        ),
    },
    VERSIONS: {
        "first": "head-target-lf head-version-none",
        "first, smuggled, last": "head-version-blank head-version-digit",
    },
}
HAPROXY = {
    BLANKS: {
        "first, smuggled, last": "head-target-blanks head-target-tab",
    },
    BOTH: {
        "first": (
            "te-blanks-cl te-blanks-te te-capitals-cl te-capitals-te "
            "te-fold-tab-cl te-fold-tab-te te-fold-value-cl te-fold-value-te "
            "te-lf-behind-cl te-lf-behind-te te-lf-first-cl te-lf-first-te "
            "te-lf-value-cl te-lf-value-te te-nominated-cl te-nominated-te "
            "te-plain-cl te-plain-te te-tab-cl te-tab-te"
        ),
    },
    CONNECT: {
        "a:80, smuggled, last, waits": "head-connect-body",
    },
    EXTENSIONS: {
        "first, last": ("chunk-blank-behind-1.1 chunk-extension-nul-1.1 chunk-tab-behind-1.1"),
    },
    FOLDS: {
        "first, last": "cl-fold-value te-fold-first-cl",
        "first, smuggled, last": "cl-fold-first head-fold head-fold-blank head-host-fold",
        "first, smuggled, refused": "te-fold-first-te",
    },
    HOSTS: {
        "first, smuggled, last": "head-host-comma head-host-userinfo",
    },
    HTTP2: {
        "": "head-preface",
    },
    LF: {
        "first": "head-lf-all-1.0",
        "first, last": "chunk-data-lf-1.1 chunk-lf-1.1 cl-lf-first",
        "first, smuggled, last": (
            "chunk-end-crlf-lf-1.1 chunk-end-lf-1.1 chunk-end-lf-crlf-1.1 "
            "chunk-trailer-lf-1.1 chunk-trailer-lf-lf-1.1 head-lf-all-1.1 "
            "head-lf-before head-lf-between head-lf-crlf head-lf-end "
            "head-lf-lf head-lf-line head-value-lf head-value-lf-request"
        ),
    },
    NUL: {
        "first, smuggled, last": "chunk-trailer-nul-1.1 head-value-nul",
    },
    OLD: {
        "first": (
            "chunk-behind-1.0 chunk-blank-behind-1.0 chunk-capitals-1.0 "
            "chunk-data-lf-1.0 chunk-end-crlf-lf-1.0 chunk-end-lf-1.0 "
            "chunk-end-lf-crlf-1.0 chunk-extension-1.0 "
            "chunk-extension-blank-1.0 chunk-extension-nul-1.0 chunk-lf-1.0 "
            "chunk-plain-1.0 chunk-tab-behind-1.0 chunk-trailer-1.0 "
            "chunk-trailer-host-1.0 chunk-trailer-length-1.0 "
            "chunk-trailer-lf-1.0 chunk-trailer-lf-lf-1.0 "
            "chunk-trailer-nul-1.0 chunk-zeros-1.0"
        ),
    },
    STRICTER: {
        "refused": (
            "chunk-trailer-coding-1.1 head-absolute head-delete-body-1.0 head-get-body-1.0"
        ),
    },
    TRAILERS: {
        "first": "chunk-trailer-fold-1.0",
        "first, smuggled, last": "chunk-trailer-fold-1.1",
    },
    VERSIONS: {
        "first, smuggled, last": "head-version-2",
    },
}


def _spread(table: dict[Reason, dict[str, str]]) -> dict[str, tuple[str, Reason]]:
    """Each cell's outcome, and its reason."""
    found: dict[str, tuple[str, Reason]] = {}
    for reason, outcomes in table.items():
        for outcome, names in outcomes.items():
            for name in names.split():
                ids = [cell.id for cell in CELLS if name in {cell.id, cell.id[:-4]}]
                assert ids, f"{name} is no cell"
                found |= dict.fromkeys(ids, (outcome, reason))
    return found


CELL_DIFFERENCES = {"nginx": _spread(NGINX), "haproxy": _spread(HAPROXY)}
