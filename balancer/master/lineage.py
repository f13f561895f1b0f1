"""Where a master comes from, and how the next one is made: what ``run`` knows of the process."""

from __future__ import annotations

import os
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, final

from balancer.errors import BalancerError
from balancer.master.control import ControlDesk, serve_control
from balancer.master.heir import Heir
from balancer.master.launch import Launch
from balancer.master.pidfile import PidFile, pid_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import trio

    from balancer.master.dispatcher import Dispatcher
    from balancer.master.operations import Operations
    from balancer.master.passing import Passed
    from balancer.master.ports import Ports
    from balancer.master.supervisor import Supervisor
    from balancer.net.listener import Listener
    from balancer.settings import Bind, Settings

__all__ = ["Lineage"]


@final
@dataclass(slots=True, eq=False)
class Lineage:
    """A master's place among others.

    Attributes:
        launch: How this process was started; None: it isn't all the server's, or can't be again.
        heir: Set in a master that takes over from another one.
        pid: The pid file.
        desk: The control socket, for as long as it is this master's.
        others: Listeners that the master serves itself, by their use, with what they are of.
        on_successor: Called with the pid of who is to be the server, before it is: an heir's, or
            this one's, should that one fail.
        failure: Why the heir isn't the server, and never will be.
    """

    launch: Launch | None = None
    heir: Heir | None = None
    pid: PidFile = field(default_factory=lambda: PidFile(None, "-p"))
    desk: ControlDesk = field(default_factory=ControlDesk)
    others: dict[str, tuple[Bind, Sequence[Listener]]] = field(default_factory=dict)
    on_successor: Callable[[int], object] = lambda _pid: None
    on_hand_on: Callable[[], object] = lambda: None
    failure: BalancerError | None = None

    @classmethod
    @contextmanager
    def of_this_process(cls) -> Iterator[Lineage]:
        """While the body runs; before it has changed anything of the process.

        Raises:
            RunError: it was started by an old master, and can't take over from it.
        """
        heir = Heir.claim(os.environ)
        launch = Launch.of_this_process()
        with nullcontext() if heir is None else heir.telling():
            yield cls(launch, heir)

    @contextmanager
    def pid_file(self, settings: Settings) -> Iterator[None]:
        """Keep the pid in its file while the body runs; RunError when that can't be."""
        predecessor = None if self.heir is None else self.heir.predecessor
        with pid_file(settings.pid, settings.where("pid"), predecessor) as self.pid:
            yield

    # -- what differs in an heir --------------------------------------------------------------

    def listeners(self, settings: Settings) -> Passed | None:
        """Those that are there already."""
        return None if self.heir is None else self.heir.take_listeners(settings)

    def other(self, use: str, bind: Bind) -> list[Listener] | None:
        """A predecessor's listeners for the same, to be served when this master ``begun``.

        They are the caller's, who says what it has in ``others``.
        """
        return None if self.heir is None else self.heir.take_others(use, bind)

    def count(self, settings: Settings, ports: Ports, supervisor: Supervisor) -> int:
        """How many workers to start with."""
        if self.heir is None:
            return settings.workers
        return self.heir.prepare(settings, ports, supervisor)

    def open(
        self,
        supervisor: Supervisor,
        dispatcher: Dispatcher,
        ports: Ports,
        operations: Operations,
        nursery: trio.Nursery,
    ) -> None:
        """Accept connections, and commands; an heir does when its time has come."""
        if self.heir is None:
            ports.open(dispatcher)
            self.desk.begin()
        else:
            nursery.start_soon(
                self._take_over, self.heir, supervisor, dispatcher, ports, operations
            )

    async def _take_over(
        self,
        heir: Heir,
        supervisor: Supervisor,
        dispatcher: Dispatcher,
        ports: Ports,
        operations: Operations,
    ) -> None:
        try:
            await heir.run(supervisor, dispatcher, ports, self.desk, self.pid)
        except BalancerError as error:
            self.failure = error
            await operations.stop(quick=not heir.begun.is_set())

    async def begun(self) -> None:
        """Wait until the server is this master's."""
        if self.heir is not None:
            await self.heir.begun.wait()

    async def control(
        self,
        operations: Operations,
        settings: Settings,
        address: str,
        *,
        task_status: trio.TaskStatus[str | None],
    ) -> None:
        """Serve the control socket; ``address`` is the first one really bound."""
        # the name of the socket is the address without the scheme, as -b has it
        bound, desk = address.removeprefix("http://"), self.desk
        if self.heir is not None:
            desk.socket = self.heir.take_control(settings, bound)
        await serve_control(operations, settings, bound=bound, desk=desk, task_status=task_status)
