"""The words that rows are written in: what one side does, and what the other must see of it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from tests.e2e.proxy.message import Message, Mismatch
from tests.e2e.proxy.talk import DEADLINE, Talk, Upstream, connect

if TYPE_CHECKING:
    from tests.e2e.proxy.doors import Door


__all__ = [
    "OK",
    "Check",
    "Row",
    "Step",
    "asks",
    "body",
    "client_gets",
    "client_gets_bytes",
    "client_half_closes",
    "client_is_cut_off",
    "client_leaves",
    "client_says",
    "client_sees_a_reset",
    "client_sees_the_end",
    "closes",
    "does",
    "framed",
    "has",
    "lacks",
    "line",
    "mentions",
    "once_more",
    "only",
    "passes",
    "persists",
    "raw_lacks",
    "refused",
    "run",
    "status",
    "trailer",
    "trailers_lack",
    "upstream_closes",
    "upstream_half_closes",
    "upstream_hears",
    "upstream_resets",
    "upstream_saw_nothing",
    "upstream_says",
    "upstream_sees",
    "upstream_sees_the_end",
]

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"

Check = Callable[[Message], str | None]
"""What is wrong with a message; None: nothing."""


Step = Callable[[Talk], None]


@final
@dataclass(frozen=True, slots=True)
class Row:
    """One row of the checklist.

    Attributes:
        id: The point's number and a name.
        says: The rule, and where it is from.
        steps: What happens.
        impatient: By the door with short times and small limits.
    """

    id: str
    says: str
    steps: tuple[Step, ...]
    impatient: bool = False

    @property
    def point(self) -> int:
        return int(self.id[:2])


def run(row: Row, door: Door, upstream: Upstream, *, patience: float = DEADLINE) -> None:
    """Raises Mismatch: somebody did not see what the row says."""
    upstream.settle(door.port)
    client = connect(door.impatient if row.impatient else door.port)
    with closing(Talk(client, upstream, patience)) as talk:
        for step in row.steps:
            step(talk)


# what the ends do


def asks(*lines: bytes, body: bytes = b"") -> Step:
    """A head of these lines, and what follows it."""
    data = b"\r\n".join(lines) + b"\r\n\r\n" + body
    method = lines[0].split(b" ")[0]

    def step(talk: Talk) -> None:
        talk.method = method
        talk.client.say(data)

    return step


def does(act: Callable[[Talk], None]) -> Step:
    """Something that has no word of its own."""
    return act


def upstream_says(*pieces: bytes) -> Step:
    def step(talk: Talk) -> None:
        for piece in pieces:
            talk.end.say(piece)

    return step


def upstream_closes(talk: Talk) -> None:
    talk.end.close()


def upstream_half_closes(talk: Talk) -> None:
    talk.end.finish()


def upstream_resets(talk: Talk) -> None:
    talk.end.cut()


def client_says(data: bytes) -> Step:
    return lambda talk: talk.client.say(data)


def client_half_closes(talk: Talk) -> None:
    talk.client.finish()


def client_leaves(talk: Talk) -> None:
    talk.client.close()


# what they must see


def upstream_sees(*checks: Check) -> Step:
    """The next whole request, with its body."""
    return lambda talk: _judge("the upstream", talk.request(), checks)


def upstream_hears(*parts: bytes) -> Step:
    """The next bytes contain all of these in this order: for what isn't a whole request yet."""
    return lambda talk: talk.hear(*parts)


def upstream_sees_the_end(talk: Talk) -> None:
    end = talk.end
    talk.wait(lambda: end.ended, "the end at the upstream")


def upstream_saw_nothing(talk: Talk) -> None:
    """Nothing more than what a row has taken."""
    talk.look()
    if seen := b"".join([end.seen for end in talk.upstream.ends]):
        raise Mismatch(f"the upstream got {seen[:200]!r}")


def client_gets(*checks: Check) -> Step:
    """The next response, interim ones too."""
    return lambda talk: _judge("the client", talk.response(), checks)


def client_gets_bytes(data: bytes) -> Step:
    def step(talk: Talk) -> None:
        seen = talk.bytes(len(data))
        if seen != data:
            raise Mismatch(f"the client got {seen!r}, not {data!r}")

    return step


def client_sees_the_end(talk: Talk) -> None:
    """In good order, and nothing before it."""
    talk.client_end()
    if talk.client.reset:
        raise Mismatch("the client got a reset instead of the end")
    if talk.client.seen:
        raise Mismatch(f"the client got {talk.client.seen[:200]!r} and no more")


def client_sees_a_reset(talk: Talk) -> None:
    """So that what it has got can't be taken for the whole."""
    talk.client_end()
    if not talk.client.reset:
        raise Mismatch("the client got the end instead of a reset")


def client_is_cut_off(talk: Talk) -> None:
    """Its connection ends, and what it has can't be taken for the whole."""
    talk.client_end()
    if talk.client.take(method=talk.method) is not None:
        raise Mismatch("the client got a whole response")


# common rows


def passes(
    id: str,  # noqa: A002
    says: str,
    request: tuple[bytes, ...],
    *saw: Check,
    answer: bytes = OK,
    got: tuple[Check, ...] = (),
) -> Row:
    """A request that gets through (its lines, without a body), and its answer; 200 by default."""
    steps = (
        asks(*request),
        upstream_sees(*saw),
        upstream_says(answer),
        client_gets(*(got or (status(200),))),
    )
    return Row(id, says, steps)


def once_more() -> tuple[Step, ...]:
    """Another request on the client's connection: nobody has lost the thread."""
    return (
        asks(b"GET /again HTTP/1.1", b"Host: a"),
        upstream_sees(line(b"GET /again HTTP/1.1")),
        upstream_says(OK),
        client_gets(status(200), body(b"hello")),
    )


def refused(id: str, says: str, request: bytes, *statuses: int) -> Row:  # noqa: A002
    """A request that gets an error and the end of its connection, and that nobody else sees."""
    method = request.split(b" ", 1)[0]

    def ask(talk: Talk) -> None:
        talk.method = method
        talk.client.say(request)

    steps = (
        ask,
        client_gets(status(*statuses)),
        client_sees_the_end,
        upstream_saw_nothing,
    )
    return Row(id, says, steps)


# checks


def _judge(who: str, message: Message, checks: tuple[Check, ...]) -> None:
    for check in checks:
        if wrong := check(message):
            raise Mismatch(f"{who} got {wrong}")


def line(wanted: bytes) -> Check:
    return lambda got: None if got.line == wanted else f"the line {got.line!r}, not {wanted!r}"


def status(*wanted: int) -> Check:
    return lambda got: None if got.status in wanted else f"status {got.status}, not {wanted}"


def has(name: bytes, *values: bytes) -> Check:
    """The field's lines, in order; no values: any."""

    def check(got: Message) -> str | None:
        found = got.values(name)
        if found and (not values or found == list(values)):
            return None
        return f"{name!r} as {found}, not as {list(values) or 'anything'}"

    return check


def lacks(*names: bytes) -> Check:
    def check(got: Message) -> str | None:
        there = [name for name in names if got.values(name)]
        return f"the fields {there}" if there else None

    return check


def only(name: bytes, *values: bytes) -> Check:
    """The members of a list field, in lower case, over all its lines."""

    def check(got: Message) -> str | None:
        members = [each for value in got.values(name) for each in value.split(b",")]
        found = [each.strip().lower() for each in members]
        return None if found == list(values) else f"{name!r} with {found}, not {list(values)}"

    return check


def mentions(name: bytes, part: bytes) -> Check:
    def check(got: Message) -> str | None:
        found = b", ".join(got.values(name))
        return None if part in found else f"{name!r} as {found!r}, without {part!r}"

    return check


def body(wanted: bytes) -> Check:
    return lambda got: None if got.body == wanted else f"the body {got.body[:80]!r}"


def framed(how: str) -> Check:
    """length, chunked, close or none."""
    return lambda got: None if got.framing == how else f"a body framed by {got.framing}, not {how}"


def trailer(name: bytes, value: bytes) -> Check:
    def check(got: Message) -> str | None:
        return None if (name, value) in got.trailers else f"the trailers {got.trailers}"

    return check


def trailers_lack(*names: bytes) -> Check:
    def check(got: Message) -> str | None:
        there = [name for name, _ in got.trailers if name in names]
        return f"the trailers {there}" if there else None

    return check


def raw_lacks(part: bytes) -> Check:
    """Anywhere."""
    return lambda got: f"{part!r} in {got.raw!r}" if part in got.raw else None


def persists(got: Message) -> str | None:
    """The response says nothing of a close."""
    return "a close" if b"close" in b",".join(got.values(b"connection")).lower() else None


def closes(got: Message) -> str | None:
    """The response says that it is the last."""
    return None if has(b"connection", b"close")(got) is None else "no Connection: close"
