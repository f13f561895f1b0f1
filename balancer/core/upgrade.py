"""What the old and the new master say to each other during an upgrade, and what they make of it.

One message per SEQPACKET packet, with descriptors beside it::

    new → old    Hello                       the new one is up, and speaks this protocol
    old → new    Offer …, Terms              every listening socket, then everything else
    new → old    Ready                       all its workers are ready, none takes connections yet
    old → new    Yours                       go: from here the old one doesn't change its mind
    new → old    Begun                       it accepts: the old one stops to, and drains
    old → new    Left                        the end

Until ``Begun`` the old master does everything that it did before, so that nobody notices whatever
becomes of the new one.  ``Refused``, ``Cancelled`` and ``Failed`` end it with a sentence.  EOF is
the other's death: an old master whose successor dies goes on; a new one that has its ``Terms``
begins at once when the old one dies, because nobody else would serve the port.

The two may be of different versions, either of them the newer: unknown fields are ignored and
missing ones have defaults.  What can't be understood at all gets another ``PROTOCOL``; ``Hello``'s
number, ``Refused`` and ``Failed`` mean the same in all of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from balancer.core.messages import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "PROTOCOL",
    "SOCKETS_PER_OFFER",
    "Begun",
    "Cancelled",
    "Failed",
    "HeirMessage",
    "Hello",
    "Left",
    "MasterMessage",
    "Offer",
    "Offered",
    "Ready",
    "Refused",
    "Terms",
    "Use",
    "Yours",
    "choose",
    "refusal",
    "workers_to_start",
]

PROTOCOL = 1
SOCKETS_PER_OFFER = 64
"""So that an offer fits into a packet, whatever its paths."""


class Use:
    """What an offered socket is for; a new master ignores what it doesn't know."""

    LANE = "lane"
    """A listener of a bind: the only one, or under reuseport slot 1's."""
    SHARD = "shard"
    """One more listener of the same address, of another slot."""
    ADMIN = "admin"
    """A listener of the master's own: of ``--admin``."""
    CONTROL = "control"
    """Where ``balancer status`` asks."""


class Offered(msgspec.Struct, frozen=True, kw_only=True):
    """A listening socket; its descriptor comes with it.

    Attributes:
        number: By which the new master says that it takes it.
        use: What it is for, one of ``Use``.
        bind: As it was configured: ``127.0.0.1:8000``.  Of a control socket: its name.
        index: Which bind it is of: the same bind may have been given twice (port 0).
        place: Which of the listeners of this bind: a name may stand for two addresses.
        path: Where its file is, if it has one that goes with it.
        inode: Device and inode number of that file.
    """

    number: int
    use: str
    bind: str
    index: int = 0
    place: int = 0
    path: str | None = None
    inode: tuple[int, int] | None = None


class _Message(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    pass


# -- new → old --------------------------------------------------------------------------------


class Hello(_Message, frozen=True):
    """The first message; ``v`` is the protocol."""

    v: int = PROTOCOL
    version: str = ""


class Ready(_Message, frozen=True):
    """All its workers are ready; ``taken`` are the sockets that it wants."""

    taken: tuple[int, ...] = ()


class Begun(_Message, frozen=True):
    """It accepts connections, and answers for the server."""


class Failed(_Message, frozen=True):
    """It can't, and leaves."""

    reason: str


# -- old → new --------------------------------------------------------------------------------


class Refused(_Message, frozen=True):
    """It can't be understood: nothing is passed."""

    reason: str


class Offer(_Message, frozen=True):
    """Some of the sockets."""

    sockets: tuple[Offered, ...] = ()


class Terms(_Message, frozen=True):
    """These were all sockets; how things stand.

    Attributes:
        version: The old master's.
        workers: As many as it was configured for.
        scale: As many as it has.
        next_id: The first id that none of its workers has had.
        leaving: The pids of older masters that still drain.
    """

    version: str = ""
    workers: int = 0
    scale: int = 0
    next_id: int = 1
    leaving: tuple[int, ...] = ()


class Yours(_Message, frozen=True):
    """Accept, and say so."""


class Cancelled(_Message, frozen=True):
    """Leave: the old master goes on, or stops for good."""

    reason: str


class Left(_Message, frozen=True):
    """After ``Begun``: the old master's workers are gone, and it goes; without it, it died."""


HeirMessage = Hello | Ready | Begun | Failed
MasterMessage = Refused | Offer | Terms | Yours | Cancelled | Left


class _Version(msgspec.Struct):
    v: int = PROTOCOL  # ``Failed`` has none


_version = msgspec.msgpack.Decoder(_Version)


def refusal(packet: bytes, version: str) -> str | None:
    """Why a first packet is refused, if it is; ``version`` is this master's.

    Raises:
        ProtocolError: it is no message at all.
    """
    try:
        spoken = _version.decode(packet).v
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(str(error)) from error
    if spoken == PROTOCOL:
        return None
    return (
        f"it speaks upgrade protocol {spoken}, and this one (balancer {version}) {PROTOCOL}; "
        "restart the server instead"
    )


def choose(binds: Sequence[str], offered: Sequence[Offered]) -> dict[int, list[Offered]]:
    """For each bind, by its index, the listeners that are offered for it, in their order.

    Binds are compared as they were configured: what a name stands for may have changed, what it
    was bound to hasn't.  The same bind given twice gets what the first and the second got.
    """
    by_bind: dict[tuple[str, int], list[Offered]] = {}
    for each in sorted(offered, key=lambda one: (one.index, one.place)):
        if each.use == Use.LANE:
            by_bind.setdefault((each.bind, each.index), []).append(each)
    of_text: dict[str, list[list[Offered]]] = {}
    for (text, _), sockets in by_bind.items():
        of_text.setdefault(text, []).append(sockets)
    return {index: of_text[text].pop(0) for index, text in enumerate(binds) if of_text.get(text)}


def workers_to_start(configured: int, terms: Terms) -> int:
    """How many workers a new master has, that is configured for so many.

    As many as there are, if somebody has scaled by hand and the configuration is what it was.
    """
    if configured == terms.workers and terms.scale > 0:
        return terms.scale
    return configured
