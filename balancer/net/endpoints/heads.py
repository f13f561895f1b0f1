"""The endpoints' heads: what they are, and how they do.

Helper, operator and workers write, each its own words (``HeadWord`` says which), and what two
workers write at the same time comes to the same.  A reader looks at the version, then at the heads:
a change is written before the version, so that what was missed shows as another version.

Times are seconds of the monotonic clock, which all processes of a machine share.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from balancer.net.endpoints.address import Address, pack_address, unpack_address
from balancer.net.endpoints.layout import HEAD_WORDS, HEADS_AT, HeadWord, TableWord
from balancer.net.endpoints.stamps import next_stamp

__all__ = ["EndpointRow", "Heads", "to_ns"]


def to_ns(seconds: float) -> int:
    """How a time is written in a word."""
    return round(seconds * 1e9)


@final
@dataclass(frozen=True, slots=True)
class EndpointRow:
    """One endpoint, as its head said at some moment.

    Attributes:
        index: Its row in the table.
        placed: Another number for every endpoint that the row has had.
        upstream: The number of its upstream.
        address: Where to connect to.
        weight: Its share beside the others.
        drained: The operator wants no new requests on it.
        down: Its probes fail.
        probed_at: When it was probed last; 0.0 is never.
        since: When it was last placed, undrained or found up again.
        ejected_until: Failures of requests keep it out until then; 0.0 is not.
        ejected_at: When that began.
        ejections: How often in a row, as ``eject`` was told.
    """

    index: int
    placed: int
    upstream: int
    address: Address
    weight: int
    drained: bool
    down: bool
    probed_at: float
    since: float
    ejected_until: float
    ejected_at: float
    ejections: int


@final
class Heads:
    """The heads of a table; ``words`` are the table's."""

    __slots__ = ("_words",)

    def __init__(self, words: memoryview) -> None:
        self._words = words

    @property
    def version(self) -> int:
        """Another number after every change that a chooser must know of."""
        version: int = self._words[_VERSION]
        return version

    @property
    def used(self) -> range:
        """The rows that have ever had an endpoint."""
        return range(self._words[TableWord.ENDPOINTS_USED])

    def states(self) -> list[EndpointRow]:
        """All endpoints that there are, in the order of their rows."""
        return [row for index in self.used if (row := self.row(index)) is not None]

    def row(self, index: int) -> EndpointRow | None:
        """One endpoint; None when the row has none."""
        at = HEADS_AT + index * HEAD_WORDS
        # one read of the words in their order, since there may be 256 heads to read
        (
            placed, _, upstream, *address, weight, drained, down, probed_at, since, ejected_until,
            ejected_at, ejections,
        ) = self._words[at : at + HeadWord.EJECTIONS + 1].tolist()  # fmt: skip
        # it was taken away while it was read, and perhaps another one put into its place: what was
        # read may be a half of each, and the version changes
        if not placed or self._words[at + HeadWord.USED] != placed:
            return None
        return EndpointRow(
            index,
            placed,
            upstream,
            unpack_address(*address),
            weight,
            bool(drained),
            bool(down),
            probed_at / 1e9,
            since / 1e9,
            ejected_until / 1e9,
            ejected_at / 1e9,
            ejections,
        )

    def removed_at(self, index: int) -> int | None:
        """When a row lost its endpoint, in ns; 0 when it never had one, None when it has one."""
        at = HEADS_AT + index * HEAD_WORDS
        removed: int = self._words[at + HeadWord.REMOVED_AT]
        return None if self._words[at + HeadWord.USED] else removed

    def base(self, index: int) -> list[int]:
        """What workers had counted at the row before it got this endpoint."""
        at = HEADS_AT + index * HEAD_WORDS + HeadWord.BASE
        counts: list[int] = self._words[at : at + 4].tolist()
        return counts

    def place(
        self,
        index: int,
        upstream: int,
        address: Address,
        weight: int,
        now: float,
        base: list[int],
        *,
        drained: bool = False,
    ) -> None:
        """Put an endpoint into an empty row; for ``EndpointTable.place``.

        Raises:
            ValueError: the row has one, or the address can't be written.
        """
        at = HEADS_AT + index * HEAD_WORDS
        words = self._words
        if words[at + HeadWord.USED]:
            raise ValueError(f"endpoint row {index} is in use")
        packed = pack_address(address)
        generation = next_stamp(words[at + HeadWord.GENERATION])
        for word in range(HeadWord.UPSTREAM, HEAD_WORDS):
            words[at + word] = 0
        words[at + HeadWord.UPSTREAM] = upstream
        for offset, value in enumerate(packed):
            words[at + HeadWord.FAMILY + offset] = value
        words[at + HeadWord.WEIGHT] = weight
        words[at + HeadWord.DRAINED] = int(drained)
        words[at + HeadWord.SINCE] = to_ns(now)
        words[at + HeadWord.GENERATION] = generation
        for offset, value in enumerate(base):
            words[at + HeadWord.BASE + offset] = value
        words[at + HeadWord.USED] = generation
        words[TableWord.ENDPOINTS_USED] = max(words[TableWord.ENDPOINTS_USED], index + 1)
        self._changed()

    def remove(self, index: int) -> None:
        """Take an endpoint away; its requests in progress go on and are counted."""
        at = HEADS_AT + index * HEAD_WORDS
        if not self._words[at + HeadWord.USED]:
            return
        self._words[at + HeadWord.REMOVED_AT] = next_stamp(self._words[at + HeadWord.USED])
        self._words[at + HeadWord.USED] = 0
        self._changed()

    def probed(self, index: int, *, up: bool, now: float, against: int = 0) -> bool:
        """A probe's verdict; whether it is another one than before.

        ``against`` is for the helper that comes next: the probes in a row that contradict it.
        """
        at = HEADS_AT + index * HEAD_WORDS
        self._words[at + HeadWord.PROBED_AT] = to_ns(now)
        self._words[at + HeadWord.AGAINST] = against
        return self._switch(at, HeadWord.DOWN, not up, now)

    def against(self, index: int) -> int:
        """As in ``probed``."""
        against: int = self._words[HEADS_AT + index * HEAD_WORDS + HeadWord.AGAINST]
        return against

    def drain(self, index: int, *, drained: bool, now: float) -> bool:
        """The operator's word; whether it is another one than before."""
        return self._switch(HEADS_AT + index * HEAD_WORDS, HeadWord.DRAINED, drained, now)

    def reweigh(self, index: int, weight: int) -> None:
        """Change a weight."""
        self._words[HEADS_AT + index * HEAD_WORDS + HeadWord.WEIGHT] = weight
        self._changed()

    def eject(self, index: int, until: float, *, times: int, now: float) -> bool:
        """Keep an endpoint out; its failures in a row begin anew.

        Args:
            index: Its row.
            until: When it may come back.
            times: What ``EndpointRow.ejections`` shall say.
            now: When it went.

        Returns:
            Whether it was this call: several workers see the same failures, and one is enough.
        """
        at = HEADS_AT + index * HEAD_WORDS
        words = self._words
        if words[at + HeadWord.EJECTED_UNTIL] > to_ns(now):
            return False
        words[at + HeadWord.EJECTIONS] = times
        words[at + HeadWord.EJECTED_AT] = to_ns(now)
        words[at + HeadWord.EJECTED_UNTIL] = to_ns(until)
        self.end_run(index)
        self._changed()
        return True

    def readmit(self, index: int) -> None:
        """Forget that an endpoint was ejected."""
        at = HEADS_AT + index * HEAD_WORDS
        self._words[at + HeadWord.EJECTED_UNTIL] = 0
        self._words[at + HeadWord.EJECTIONS] = 0
        self._changed()

    def end_run(self, index: int) -> None:
        """The next failure of an endpoint is the first one in a row."""
        at = HEADS_AT + index * HEAD_WORDS
        # in this order: a failure in between sets TROUBLE again, and the next success looks; the
        # other way round it would be in the new run with nobody to look
        self._words[at + HeadWord.TROUBLE] = 0
        self._words[at + HeadWord.GENERATION] = next_stamp(self._words[at + HeadWord.GENERATION])

    def _switch(self, at: int, word: HeadWord, on: bool, now: float) -> bool:
        if bool(self._words[at + word]) is on:
            return False
        if not on:
            self._words[at + HeadWord.SINCE] = to_ns(now)
        self._words[at + word] = int(on)
        self._changed()
        return True

    def _changed(self) -> None:
        self._words[_VERSION] = next_stamp(self._words[_VERSION])


_VERSION = int(TableWord.VERSION)
