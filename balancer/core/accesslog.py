"""The access log's lines: a format compiled once, and records rendered in batches.  Pure.

A record holds references to what is known of a request.  Between two requests' worth of other code
every Python function that is called costs about a microsecond, five times what it costs in a loop,
so all that can wait is done here, for many records in one go.  And here too there is no function
per atom: as ``collections.namedtuple`` does, a format becomes the source of one, with one f-string
per line and in it an expression of the tables below per atom.  Of what a user wrote only literal
text gets into that source, by ``repr``.
"""

from __future__ import annotations

from binascii import Error as NotBase64
from binascii import a2b_base64
from typing import TYPE_CHECKING, Any, NamedTuple, final
from urllib.parse import unquote_to_bytes

from balancer.core.forwarded import read_forwarded
from balancer.core.logescape import MARKS, escape, escape_text, escape_word, finish
from balancer.core.logrecord import NOTHING
from balancer.core.requestid import HEADER
from balancer.settings.logformat import parse_log_format

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from balancer.core.forwarded import Trusted
    from balancer.core.logrecord import Answer, Peer, Record, Request
    from balancer.core.requestid import RequestIds
    from balancer.settings.logformat import Atom

__all__ = ["Constants", "Stamp", "make_renderer"]


@final
class Stamp(NamedTuple):
    """A second, as the log has it, and when it begins and ends."""

    text: str
    """``[24/Nov/2026:03:26:09 +0000]``, in the local zone."""
    begins: float
    ends: float


@final
class Constants(NamedTuple):
    """What is the same in every line of a process."""

    pid: int
    worker: int
    environ: Mapping[str, str]
    trusted: Trusted
    ids: RequestIds
    stamp: Callable[[float], Stamp]
    """The second that a record's ``ended`` is in."""


SOURCE = """
def make(stamp):
    now = stamp(0.0)
    def render(records):
        nonlocal now
        lines = []
        for request, answer, seconds, ended, peer, end in records:
            if not now[1] <= ended < now[2]:
                now = stamp(ended)
            if request is None:
                lines.append({refused})
            else:
                fields = {fields}
                lines.append({known})
        return finish(lines)
    return render
"""

# of the variables above; numbers, and strings that are safe
EXPRESSIONS = {
    "h": "peer[0] if type(peer) is tuple else NOTHING",
    "t": "now[0]",
    "s": "answer.status or NOTHING",
    "B": "answer.body_bytes",
    "b": "answer.body_bytes if answer.status else NOTHING",
    "T": "int(seconds * 1e6) // 1000000",
    "M": "int(seconds * 1e6) // 1000",
    "D": "int(seconds * 1e6)",
    "L": "'%d.%06d' % divmod(int(seconds * 1e6), 1000000)",
    "X": "end",
    "client": "client(request, peer)",
    "id": "answer.request_id or choose_id(request, peer)",
    "upstream": "upstream(answer)",
    "upstream_L": "upstream_seconds(answer)",
    "remote_port": "peer[1] if type(peer) is tuple else NOTHING",
}
# the same, but there must be a request
OF_REQUEST = {
    "r": "f'{request.method} {request.target.decode(LATIN)} HTTP/{request.http_version}'",
    "m": "request.method",
    "U": "path(request.origin)",
    "q": "request.origin.partition(MARK)[2].decode(LATIN)",
    "H": "f'HTTP/{request.http_version}'",
    "raw_uri": "request.target.decode(LATIN)",
}
ID_FIELD = (HEADER,)
FIELDS = {"f": "referer", "a": "user-agent"}
# what gunicorn's WSGI environment has of a request, as atoms and expressions above
VARIABLES = {
    "request_method": "m", "raw_uri": "raw_uri", "request_uri": "raw_uri", "path_info": "U",
    "query_string": "q", "server_protocol": "H", "remote_addr": "h", "remote_port": "remote_port",
}  # fmt: skip
FIELD_VARIABLES = {"content_type": "content-type", "content_length": "content-length"}


def make_renderer(text: str, constants: Constants) -> Callable[[Iterable[Record]], bytes]:
    """A function that makes lines of records, in their order, by ``--access-logformat``.

    Raises:
        ValueError: it is no format, with the rest of the sentence.
    """
    return _Compiler(constants).compile(text)


@final
class _Compiler:
    def __init__(self, constants: Constants) -> None:
        self._constants = constants
        self._names: list[bytes] = []
        self._of_response: list[bytes] = []

    def compile(self, text: str) -> Callable[[Iterable[Record]], bytes]:
        pairs = [self._expressions(piece) for piece in parse_log_format(text)]
        newline = repr("\n")
        source = SOURCE.format(
            known=" ".join([known for known, _ in pairs] + [newline]),
            refused=" ".join([refused for _, refused in pairs] + [newline]),
            fields="request.pick(names)" if self._names else "()",
        )
        namespace: dict[str, Any] = {
            "LATIN": "latin-1",
            "MARK": b"?",
            "NOTHING": NOTHING,
            "choose_id": self._choose_id,
            "client": self._client,
            "finish": finish,
            "names": tuple(self._names),
            "of_response": self._of_response,
            "path": _path,
            "response_field": _response_field,
            "upstream": _upstream,
            "upstream_seconds": _upstream_seconds,
            "user": _user,
        }
        exec(source, namespace)
        render: Callable[[Iterable[Record]], bytes] = namespace["make"](self._constants.stamp)
        return render

    def _expressions(self, piece: str | Atom) -> tuple[str, str]:
        """What stands for a piece in the source: of a line, and of a refused request's line."""
        if isinstance(piece, str):
            literal = repr(piece.encode().decode("latin-1").translate(MARKS))
            return literal, literal
        constant = self._constant(piece)
        if constant is not None:
            return repr(constant), repr(constant)
        known, refused = self._variable(piece)
        return f'f"{{{known}}}"', f'f"{{{refused}}}"'

    def _constant(self, atom: Atom) -> str | None:
        constants = self._constants
        if atom.kind == "e":
            return self._from_environment(atom.name)
        known = {"l": NOTHING, "p": f"<{constants.pid}>", "worker": str(constants.worker)}
        return known.get(atom.kind)

    def _from_environment(self, name: str) -> str | None:
        """A variable of the process, where the request has none of that name."""
        if name in VARIABLES or name in FIELD_VARIABLES or name.startswith("http_"):
            return None
        for key, value in self._constants.environ.items():
            if key.lower() == name:
                return escape(value.encode("utf-8", "surrogateescape"))
        return NOTHING

    def _variable(self, atom: Atom) -> tuple[str, str]:
        kind = VARIABLES.get(atom.name, "") if atom.kind == "e" else atom.kind
        if kind in EXPRESSIONS:
            return EXPRESSIONS[kind], EXPRESSIONS[kind]
        if kind in OF_REQUEST:
            return OF_REQUEST[kind], "NOTHING"
        if kind == "o":
            self._of_response.append(atom.name.encode())
            found = f"response_field(answer.sent_head, of_response[{len(self._of_response) - 1}])"
            return found, found
        if kind == "u":
            field = self._field("authorization")
            return f"NOTHING if {field} == NOTHING else user({field})", "NOTHING"
        return self._field(self._field_name(atom)), "NOTHING"

    def _field_name(self, atom: Atom) -> str:
        if atom.kind == "e" and atom.name in FIELD_VARIABLES:
            return FIELD_VARIABLES[atom.name]
        if atom.kind == "e":
            return atom.name.removeprefix("http_").replace("_", "-")
        return FIELDS.get(atom.kind, atom.name)

    def _field(self, name: str) -> str:
        wanted = name.encode()
        if wanted not in self._names:
            self._names.append(wanted)
        return f"fields[{self._names.index(wanted)}]"

    # -- what needs more than an expression ---------------------------------------------------

    def _choose_id(self, request: Request | None, peer: Peer) -> str:
        said = NOTHING if request is None else request.pick(ID_FIELD)[0]
        return self._constants.ids.choose(said, _host(peer))

    def _client(self, request: Request | None, peer: Peer) -> str:
        host = _host(peer)
        if request is not None:
            said = read_forwarded(request.headers, host, self._constants.trusted)
            if said.client is not None:
                return escape_text(said.client[0])
        return NOTHING if host is None else host


def _host(peer: Peer) -> str | None:
    return peer[0] if isinstance(peer, tuple) else None


def _path(origin: bytes) -> str:
    path = origin.partition(b"?")[0]
    return escape_word(unquote_to_bytes(path)) if b"%" in path else escape(path)


def _upstream(answer: Answer) -> str:
    """The addresses that a request went to, in their order, without blanks."""
    tried: str = getattr(answer, "upstream", "")  # a proxy's answer has it
    return escape_word(tried.encode()) if tried else NOTHING


def _upstream_seconds(answer: Answer) -> str:
    """From the last attempt's beginning to the head of its answer."""
    seconds: float | None = getattr(answer, "upstream_seconds", None)
    if seconds is None:
        return NOTHING
    return "%d.%06d" % divmod(int(seconds * 1e6), 1000000)  # noqa: UP031 - as %(L)s is


def _response_field(head: bytes, name: bytes) -> str:
    """The value of the last field of that name, in a head as it was sent."""
    start = head.lower().rfind(b"\r\n%b:" % name)
    if start < 0:
        return NOTHING
    start += len(name) + 3
    return escape(head[start : head.index(b"\r\n", start)].strip(b" \t"))


def _user(credentials: str) -> str:
    """The name in HTTP Basic credentials (RFC 7617)."""
    if credentials[:6].lower() != "basic ":
        return NOTHING
    try:
        name, colon, _password = a2b_base64(credentials[6:].strip()).partition(b":")
    except NotBase64:
        return NOTHING
    return escape_word(name) if colon and name else NOTHING
