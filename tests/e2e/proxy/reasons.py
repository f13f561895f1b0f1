"""Why the peers do otherwise than the rows say, and why we don't."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, final

__all__ = [
    "ABORT",
    "BAD_REPLIES",
    "BARE",
    "BLANK_NAMES",
    "BODILESS",
    "CODING_WINS",
    "CONNECT",
    "EXPECT",
    "FOLDS",
    "HEADERS",
    "HOP",
    "HOSTS",
    "IDENTITY",
    "INTERIM",
    "LINES",
    "MAX_FORWARDS",
    "NO_ANSWER",
    "NO_HOST",
    "NO_VIA",
    "NUL",
    "OLD_CHUNKS",
    "PROXY_AUTH",
    "REFRAMED",
    "RETRIES",
    "STATUSES",
    "STRICTER",
    "TARGETS",
    "THEIRS",
    "TRACE",
    "TRAILERS",
    "TRUNCATED",
    "TUNNEL",
    "UNDERSCORES",
    "UPGRADE",
    "VERSIONS",
    "WAITS",
    "Reason",
]


@final
@dataclass(frozen=True, slots=True)
class Reason:
    """What they do, and why we don't."""

    they: str
    we: str


HOP: Final = Reason(
    "what belongs to one connection goes on, unless the configuration names it",
    "S7.6.1: an intermediary MUST remove it, or the next hop acts on what was said to us",
)
IDENTITY: Final = Reason(
    "what a client says of itself goes on, and theirs is appended or not there",
    "whoever reads the list from its left believes the client: only a trusted proxy's word stays",
)
PROXY_AUTH: Final = Reason(
    "a proxy's credentials and challenges go on",
    "S11.7.1, S11.7.2: they are for the next proxy only, which this is",
)
TRAILERS: Final = Reason(
    "trailers are dropped, or are refused where one is forbidden, and TE is not passed on",
    "S6.5.1 lets trailers be dropped; we pass on those that can do no harm, for gRPC and checksums",
)
EXPECT: Final = Reason(
    "Expect is not looked at, or answered before anybody is there",
    "S10.1.1: 417 for what isn't known, nothing for HTTP/1.0, and no 100 before a server is there",
)
INTERIM: Final = Reason(
    "an interim response is taken for the final one, or is sent to HTTP/1.0",
    "S15.2: any number of them before the final one, and none to HTTP/1.0",
)
UPGRADE: Final = Reason(
    "an Upgrade goes on whatever Connection, the version or the body says, or a 101 without one",
    "S7.8: it must be nominated, HTTP/1.0 has none, and a 101 is an answer to one",
)
TUNNEL: Final = Reason(
    "the end of one side is the end of the tunnel, or isn't passed on",
    "RFC 9293 3.6: who has said its last still listens; what is under way to it would be lost",
)
BODILESS: Final = Reason(
    "a length stays on a 204 or 1xx, or what must not be there is waited for or kept",
    "S8.6: MUST NOT have one; what follows a bodiless answer is trusted no further (M6.3)",
)
REFRAMED: Final = Reason(
    "a body gets another framing, or its length as it came, or an empty one none",
    "M6.2, S8.6: valid, both; ours says what the client said, in digits, and 0 for a POST without",
)
CODING_WINS: Final = Reason(
    "a coding beats a length (M6.1 lets it), also from HTTP/1.0 or beside another",
    "M6.3: an error is what all can agree on; the hop before us may have gone by the length",
)
BAD_REPLIES: Final = Reason(
    "a response's framing, or a field, may be nearly anything",
    "M6.3: 502 rather than two readings of one answer, by us and by a cache or browser",
)
STRICTER: Final = Reason(
    "refused",
    "it is valid: S8.6 (equal lengths are one), M3.2.2 (an absolute target wins), "
    "M3.2.4 (OPTIONS *)",
)
HOSTS: Final = Reason(
    "a Host may be missing, doubled or nearly anything",
    "M3.2: 400 for each of these; apps make links and choices of it",
)
TARGETS: Final = Reason(
    "a target goes on, or is rewritten, whatever its form",
    "M3.2: four forms, each for its methods, in visible ASCII without a fragment",
)
NO_HOST: Final = Reason(
    "HTTP/1.0 without a Host goes on without",
    "M3.2: HTTP/1.1 behind us must get one, and from us",
)
MAX_FORWARDS: Final = Reason(
    "Max-Forwards is not looked at",
    "S7.6.2: MUST be checked for OPTIONS and TRACE, so that circles end",
)
TRACE: Final = Reason(
    "TRACE goes on",
    "S9.3.8: it echoes a client's credentials to whoever can make it send one",
)
FOLDS: Final = Reason(
    "folded lines are joined (M5.2 lets it)",
    "who doesn't join them sees another field: 400, or 502, as M5.2 offers",
)
BLANK_NAMES: Final = Reason(
    "a response's field with a blank before its colon is dropped",
    "M5.1: the blank MUST be removed, not the field",
)
BARE: Final = Reason(
    "a LF alone ends a line (M2.2 lets it), a CR before CRLF is nothing",
    "who doesn't take it for an end sees one line where we see two: refused",
)
LINES: Final = Reason(
    "controls, or what is no token, are passed on, or the line is dropped unseen",
    "S5.1, S5.5: neither is a field, and who comes next may see one: 400",
)
VERSIONS: Final = Reason(
    "0.9, 1.10 or 2.0 are versions, too",
    "M2.3: one digit each; S15.6.6: 505 for another major one",
)
THEIRS: Final = Reason(
    "the version, or the framing, of one side goes through to the other",
    "S2.5, M6.1: each hop says its own; the chunks of 1.1 are nothing to 1.0",
)
TRUNCATED: Final = Reason(
    "an answer without framing that breaks off ends like a whole one",
    "M8: the client MUST be able to tell: a reset is all that is left to say it with",
)
WAITS: Final = Reason(
    "the client's connection stays, and its rest is read or waited for",
    "M9.6: the last answer says close, and the end comes",
)
OLD_CHUNKS: Final = Reason(
    "chunks from HTTP/1.0 are believed",
    "M6.1: the framing is faulty: 502",
)
NO_ANSWER: Final = Reason(
    "the connection closes without an answer, for the browser to try again",
    "M9.3.1: idempotent requests may be repeated by whoever knows that it is safe: we "
    "do, and say 502 otherwise",
)
RETRIES: Final = Reason(
    "a request that was answered in part is repeated",
    "only what has no byte of an answer is repeated: the upstream may have done it",
)
NO_VIA: Final = Reason(
    "no Via, and no notice of one's own",
    "S7.6.3: a proxy MUST send it; it is what ends circles",
)
HEADERS: Final = Reason(
    "Date or Server are theirs, or Date is missing",
    "S6.6.1: added where it is missing, and else the origin's, as Server is (S10.2.4)",
)
NUL: Final = Reason(
    "a %00 goes on",
    "programs in C take it for the path's end",
)
UNDERSCORES: Final = Reason(
    "names with underscores all go on, or none does",
    "CGI and WSGI can't tell them from others (GHSA-f59h-q822-g45g): those that matter "
    "are dropped, and no others",
)
STATUSES: Final = Reason(
    "another status, or no answer, or no such limit",
    "S15.5, S15.6: the ones for it, with a body that is framed and says why",
)
ABORT: Final = Reason(
    "a half-close is a goodbye, or an error",
    "M9.6: who has several requests under way may say that there are no more; it hears all answers",
)
CONNECT: Final = Reason(
    "CONNECT goes on, or is a 400",
    "S9.3.6: it isn't implemented (501); whoever passes it on opens a tunnel to anywhere",
)
