"""The old master's side of an upgrade (``USR2``, ``balancer upgrade``).

It starts its own command again and passes its listening sockets to what comes of it, the *heir*.
Until that one accepts connections, nothing changes here: an heir that exits, hangs, is killed or
talks nonsense is ended, and the reason is logged.  When it has begun, this master accepts no more,
hands what it has queued to its workers, lets them drain as on a reload, and leaves.

Nothing polls: the heir's end of the pair closes when it dies, and every answer has a deadline.
"""

from __future__ import annotations

import logging
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, final

import trio

from balancer import __version__
from balancer.core.messages import ProtocolError
from balancer.core.upgrade import (
    SOCKETS_PER_OFFER,
    Begun,
    Cancelled,
    Failed,
    HeirMessage,
    Hello,
    Left,
    Offer,
    Offered,
    Ready,
    Refused,
    Terms,
    Use,
    Yours,
    refusal,
)
from balancer.errors import RunError
from balancer.master.passing import offer_listeners, offer_others
from balancer.net.packets import packet_pair
from balancer.net.upgrade import Link

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from balancer.master.lineage import Lineage
    from balancer.master.ports import Ports
    from balancer.master.supervisor import Supervisor
    from balancer.net.listener import Listener
    from balancer.settings import Settings

__all__ = ["Upgrade", "find_obstacle"]

logger = logging.getLogger("balancer")

MARGIN = 2.0
"""Seconds beyond ``--boot-timeout`` for each of the heir's two steps: to start, to be ready."""
BEGIN = 5.0
"""Seconds to begin, once it may: it has nothing left to do but that."""
FAREWELL = 5.0
"""Seconds for an heir that isn't wanted to end its workers; then it is killed."""
INITS = frozenset({"tini", "docker-init", "dumb-init", "catatonit", "podman-init"})
"""What runs as process 1 of a container and ends it when its one child leaves."""

_M = TypeVar("_M", Hello, Ready, Begun)
_T = TypeVar("_T")


def find_obstacle(lineage: Lineage) -> str | None:
    """Why this process can't be replaced, as the end of a sentence."""
    if lineage.launch is None:
        return "a server that is part of a program can't be replaced without the program"
    if os.getpid() == 1:
        return (
            "this server is process 1, and its container would end with it; start another "
            "container, or reload"
        )
    if os.getppid() == 1 and (init := _name_of_init()) in INITS:
        return (
            f"{init} would end the container when this server leaves; start another container, "
            "or reload"
        )
    return lineage.launch.obstacle


def _name_of_init() -> str:
    try:
        return Path("/proc/1/comm").read_text().strip()
    except OSError:
        return ""


@final
class Upgrade:
    """One attempt to be replaced; ``run`` it once.  Owns the link and the heir's process."""

    def __init__(
        self, settings: Settings, lineage: Lineage, ports: Ports, supervisor: Supervisor
    ) -> None:
        self._patience = settings.boot_timeout + MARGIN
        self._settings = settings
        self._lineage = lineage
        self._ports = ports
        self._supervisor = supervisor
        self._scope = trio.CancelScope()
        self._greeted = False
        self._listeners: dict[int, Listener] = {}  # as they were offered
        self._control: int | None = None
        self._taken: frozenset[int] = frozenset()
        self._process: trio.Process
        self._link: Link[HeirMessage]

    @property
    def pid(self) -> int:
        """The heir's."""
        return self._process.pid

    def cancel(self) -> None:
        """The server is told to stop: give it up, unless it is about to succeed."""
        self._scope.cancel()

    async def run(self) -> None:
        """Returns when the heir has begun.

        Raises:
            RunError: it never will; it has been ended, and everything is as it was.
        """
        try:
            await self._start()
        except OSError as error:
            about = f" ({error.filename})" if error.filename else ""
            raise RunError(f"the new master can't be started: {error.strerror}{about}") from None
        try:
            await self._converse()
        except RunError as error:
            await self._end(str(error))
            raise

    def hand_on(self) -> None:
        """This master answers for what was passed no more."""
        self._lineage.desk.leave(passed=self._control in self._taken)
        self._lineage.on_hand_on()

    def bid_farewell(self) -> None:
        """This master's workers are gone."""
        self._link.say(Left())
        self._link.close()

    async def attend(self) -> None:
        """Reap the heir, should it die before this master."""
        logger.error("the new master (pid %d) %s", self.pid, _fate(await self._process.wait()))

    # -- the steps ----------------------------------------------------------------------------

    async def _start(self) -> None:
        assert self._lineage.launch is not None
        near, far = packet_pair()
        try:
            with far:
                self._process = await self._lineage.launch.start(far.fileno())
        except BaseException:  # a cancellation too: there is no link yet that would own this end
            near.close()
            raise
        self._link = Link(near, HeirMessage)
        logger.info("upgrade: the new master is process %d", self.pid)

    async def _converse(self) -> None:
        with self._scope as scope:
            await self._welcome()
            await self._offer()
            ready = await self._hear(Ready, "wasn't ready", self._patience)
            self._taken = frozenset(ready.taken)
        if scope.cancelled_caught:
            raise RunError("the server was told to stop")
        self._lend(True)
        self._lineage.on_successor(self.pid)
        try:
            await self._link.send(Yours())
            await self._hear(Begun, "didn't begin", BEGIN)
        except RunError as error:
            await self._end(str(error))
            self._lend(False)
            self._lineage.pid.keep()
            self._lineage.on_successor(os.getpid())
            raise

    async def _welcome(self) -> None:
        """Wait for its first message, and see that it is understood."""
        packet = await self._receive(self._link.packet, "said nothing", self._patience)
        self._greeted = True
        try:
            reason = refusal(packet, __version__)
            message = None if reason else self._link.decode(packet)
        except ProtocolError as error:
            raise self._garbled(error) from None
        if reason is not None:
            await self._link.send(Refused(reason=reason))
            raise RunError(f"the new master can't take over: {reason}")
        self._expect(Hello, message)

    async def _offer(self) -> None:
        """Pass everything."""
        everything = self._make_offers()
        try:
            for start in range(0, len(everything), SOCKETS_PER_OFFER):
                some = everything[start : start + SOCKETS_PER_OFFER]
                sockets = tuple(offered for offered, _ in some)
                await self._link.send(Offer(sockets=sockets), [fd for _, fd in some])
        except OSError as error:
            raise RunError(f"the listening sockets can't be passed: {error.strerror}") from None
        heir = self._lineage.heir
        terms = Terms(
            version=__version__,
            workers=self._settings.workers,
            scale=len(self._supervisor.slots),
            next_id=self._supervisor.next_id,
            leaving=() if heir is None else tuple(heir.leaving),
        )
        await self._link.send(terms)

    def _make_offers(self) -> list[tuple[Offered, int]]:
        ports, lineage = self._ports, self._lineage
        lanes = [each for each in ports.listeners if each.lane in ports.lanes]
        shards = [each for each in ports.shards if each.lane in ports.lanes]
        found = offer_listeners(self._settings.bind, lanes, shards)
        for use, (bind, listeners) in lineage.others.items():
            found += offer_others(use, bind, listeners, len(found))
        self._listeners = {offered.number: listener for offered, listener in found}
        offers = [(offered, listener.fileno()) for offered, listener in found]
        if (control := lineage.desk.socket) is not None:
            self._control = len(offers)
            offered = Offered(
                number=self._control,
                use=Use.CONTROL,
                bind=control.address.name,
                path=control.address.path,
                inode=control.inode,
            )
            offers.append((offered, control.socket.fileno()))
        return offers

    def _lend(self, lent: bool) -> None:
        for number, listener in self._listeners.items():
            listener.lent = lent and number in self._taken

    # -- what the heir says -------------------------------------------------------------------

    async def _hear(self, kind: type[_M], what: str, seconds: float) -> _M:
        """Its next message, which has to be of that kind."""
        try:
            message = await self._receive(self._link.receive, what, seconds)
        except ProtocolError as error:
            raise self._garbled(error) from None
        return self._expect(kind, message)

    async def _receive(self, receive: Callable[[], Awaitable[_T]], what: str, seconds: float) -> _T:
        with trio.move_on_after(seconds) as scope:
            received = await receive()
        if scope.cancelled_caught:
            where = self._settings.where("boot_timeout")
            raise RunError(f"the new master {what} within {seconds:g} s (see {where})")
        if not received:
            raise RunError(f"the new master (pid {self.pid}) {await self._fate()}")
        return received

    def _expect(self, kind: type[_M], message: object) -> _M:
        if isinstance(message, Failed):
            raise RunError(f"the new master can't take over: {message.reason}")
        if not isinstance(message, kind):
            raise self._garbled("out of turn")
        return message

    def _garbled(self, why: object) -> RunError:
        return RunError(f"what the new master (pid {self.pid}) says makes no sense: {why}")

    async def _fate(self) -> str:
        """What became of an heir that has hung up."""
        with trio.move_on_after(1):
            return f"{_fate(await self._process.wait())} before it had taken over"
        return "hung up"

    async def _end(self, reason: str) -> None:
        """See that it leaves, with its workers; idempotent."""
        self._link.say(Cancelled(reason=reason))
        if not self._greeted and self._process.returncode is None:
            self._process.terminate()  # it doesn't listen yet, and has started nobody
        with trio.move_on_after(FAREWELL) as scope:
            await self._process.wait()
        if scope.cancelled_caught:
            # its workers leave when they read the end of it, and its fork server sees to that
            self._process.kill()
            await self._process.wait()
        self._link.close()


def _fate(code: int) -> str:
    if code >= 0:
        return f"exited with {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:  # a real-time signal
        return f"was killed by signal {-code}"
