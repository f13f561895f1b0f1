"""The new master's side of an upgrade: it starts beside the old one, and then takes over.

It has the old one's listeners from the first moment (``net.upgrade.claim``), but accepts nothing
until the old one says so, or is dead: whatever goes wrong before costs nobody anything.  What the
old one answers for until then (the files of UNIX sockets, the pid file, the control socket) becomes
this one's in the same moment.

An old master that dies without a word leaves workers that take it for the end of the server.  Under
the kernel's policies they deafen the listeners then (``net.listener.deafen``), which are this
one's, too: it hears again, and lets nobody do that any more.
"""

from __future__ import annotations

import logging
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, final

import trio

from balancer.core.messages import Begin, ProtocolError
from balancer.core.upgrade import (
    Begun,
    Cancelled,
    Failed,
    Left,
    Ready,
    Use,
    Yours,
    workers_to_start,
)
from balancer.errors import BalancerError, RunError
from balancer.master.passing import Passed, take_listeners, take_others
from balancer.net.control import Address, ControlSocket, is_place
from balancer.net.upgrade import claim

if TYPE_CHECKING:
    from collections.abc import Iterator, MutableMapping

    from balancer.master.control import ControlDesk
    from balancer.master.dispatcher import Dispatcher
    from balancer.master.pidfile import PidFile
    from balancer.master.ports import Ports
    from balancer.master.supervisor import Supervisor
    from balancer.net.listener import Listener
    from balancer.net.upgrade import Heritage
    from balancer.settings import Bind, Settings

__all__ = ["Heir"]

logger = logging.getLogger("balancer")


@final
class Heir:
    """A master that takes over from another one; owns what it has of it, and the link."""

    def __init__(self, heritage: Heritage) -> None:
        self._heritage = heritage
        self._link = heritage.link
        self._taken: list[int] = []
        self._passed = Passed()
        self._others: list[Listener] = []
        self._more = 0
        self.predecessor = heritage.predecessor
        self.leaving: dict[int, int] = {}
        """The pidfds of masters that were replaced, and still drain, by pid."""
        for pid in (*heritage.terms.leaving, heritage.predecessor):
            self._know(pid)
        self.begun = trio.Event()
        """The server is this master's."""

    @classmethod
    def claim(cls, environ: MutableMapping[str, str]) -> Heir | None:
        """As ``net.upgrade.claim``."""
        heritage = claim(environ)
        return None if heritage is None else cls(heritage)

    def _know(self, pid: int) -> None:
        try:
            self.leaving[pid] = os.pidfd_open(pid)
        except OSError:  # it has left by now
            return

    @contextmanager
    def telling(self) -> Iterator[None]:
        """While the body runs; the old master hears why, if this one ends before it has begun."""
        try:
            yield
        except BalancerError as error:
            self._say_failed(str(error))
            raise
        except BaseExceptionGroup as group:  # out of the master's nurseries
            if (ours := group.split(BalancerError)[0]) is not None:
                self._say_failed(str(_first(ours)))
            raise
        finally:
            self._say_failed("it was stopped")
            self._close()

    def _say_failed(self, reason: str) -> None:
        if not self.begun.is_set():
            self._link.say(Failed(reason=reason))

    def _close(self) -> None:
        self._link.close()
        self._heritage.close()
        self._passed.close()
        for fd in self.leaving.values():
            os.close(fd)
        self.leaving.clear()

    # -- what is passed -----------------------------------------------------------------------

    def take_listeners(self, settings: Settings) -> Passed:
        """The listeners of the binds that both have."""
        self._passed = take_listeners(self._heritage, settings.bind)
        self._taken += self._passed.taken
        return self._passed

    def take_others(self, use: str, bind: Bind) -> list[Listener] | None:
        """Listeners that the master serves itself; they are the caller's, and lent until it has
        begun.  None if there are none."""
        passed = take_others(self._heritage, use, bind)
        self._taken += passed.taken
        self._others += (found := passed.lanes.get(0, []))
        return found or None

    def take_control(self, settings: Settings, bound: str | None) -> ControlSocket | None:
        """The control socket, which is the caller's, if this master's is to be in that place."""
        for offered in self._heritage.offered:
            path = offered.path
            if offered.use == Use.CONTROL and path and is_place(path, settings, bound=bound):
                self._taken.append(offered.number)
                sock = self._heritage.take(offered.number)
                sock.setblocking(False)
                return ControlSocket(Address(offered.bind, path), sock, offered.inode, lent=True)
        return None

    def prepare(self, settings: Settings, ports: Ports, supervisor: Supervisor) -> int:
        """How many workers to start with; if there are to be more, they come when it has begun."""
        supervisor.next_id = self._heritage.terms.next_id
        wanted = workers_to_start(settings.workers, self._heritage.terms)
        ready = ports.ready_slots
        first = wanted if ready is None else min(wanted, ready)
        self._more = wanted - first
        return first

    # -- taking over --------------------------------------------------------------------------

    async def run(
        self,
        supervisor: Supervisor,
        dispatcher: Dispatcher,
        ports: Ports,
        desk: ControlDesk,
        pid: PidFile,
    ) -> None:
        """Begin when all workers are ready and the old master agrees, or when it is dead.

        Raises:
            BalancerError: this master isn't wanted after all.
        """
        agreed = await self._wait_for_turn(supervisor)
        if supervisor.stopping:
            return
        try:
            pid.write()
        except RunError as error:
            if agreed:
                raise
            logger.error("%s", error)
        if not agreed:
            ports.keep_hearing()
        surplus = ports.own(dispatcher)
        for listener in self._others:
            listener.lent = False
        await self._begin(supervisor, dispatcher, ports, desk)
        if agreed:
            await self._hear_last_words(ports, desk)
        async with trio.open_nursery() as nursery:
            for left in list(self.leaving):
                nursery.start_soon(self._see_off, left)
        ports.finish(surplus, dispatcher)

    async def _wait_for_turn(self, supervisor: Supervisor) -> bool:
        """Whether the old master said so; it is dead otherwise."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._report_ready, supervisor)
            agreed = await self._hear_turn()
            nursery.cancel_scope.cancel()
        return agreed

    async def _report_ready(self, supervisor: Supervisor) -> None:
        await supervisor.all_ready.wait()
        await self._link.send(Ready(taken=tuple(self._taken)))

    async def _hear_turn(self) -> bool:
        try:
            message = await self._link.receive()
        except ProtocolError as error:
            raise RunError(f"upgrade: what the old master says is no message: {error}") from None
        if message is None:
            logger.warning(
                "the old master (pid %d) is dead: taking over without it", self.predecessor
            )
            return False
        if isinstance(message, Cancelled):
            raise RunError(f"upgrade: cancelled by the old master: {message.reason}")
        if not isinstance(message, Yours):
            raise RunError("upgrade: the old master says what makes no sense here")
        return True

    async def _begin(
        self, supervisor: Supervisor, dispatcher: Dispatcher, ports: Ports, desk: ControlDesk
    ) -> None:
        ports.open(dispatcher)
        for worker in list(supervisor.workers.values()):
            await worker.tell(Begin())
        desk.begin()
        self.begun.set()
        await self._link.send(Begun())
        logger.info("took over from process %d", self.predecessor)
        for _ in range(self._more):
            try:
                supervisor.add_slot()
            except RunError as error:
                logger.error("%s", error)

    # -- who goes -----------------------------------------------------------------------------

    async def _hear_last_words(self, ports: Ports, desk: ControlDesk) -> None:
        try:
            message = await self._link.receive()
        except ProtocolError:
            message = None
        if isinstance(message, Cancelled):  # this one was stopped meanwhile, and is too late
            ports.give_back()
            for listener in self._others:
                listener.lent = True
            desk.leave(passed=True)
            raise RunError(f"upgrade: cancelled by the old master: {message.reason}")
        if not isinstance(message, Left):
            logger.warning("the old master (pid %d) died before it was done", self.predecessor)
            ports.keep_hearing()
        self._link.close()

    async def _see_off(self, pid: int) -> None:
        await trio.lowlevel.wait_readable(self.leaving[pid])
        os.close(self.leaving.pop(pid))
        logger.info("the old master (pid %d) has left", pid)


def _first(group: BaseExceptionGroup[BalancerError]) -> BalancerError:
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error
