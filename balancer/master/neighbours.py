"""Who else has to do with a master: systemd, load balancers' health checks, and as process 1 the
kernel.

None of them may hold up connections; each is a task, or is told by one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, final

from balancer.core.upgrade import Use
from balancer.master.notify import Herald
from balancer.master.reaper import inherits_orphans, reap_orphans

if TYPE_CHECKING:
    import trio

    from balancer.master.admin import Admin
    from balancer.master.lineage import Lineage
    from balancer.master.vitals import Watch
    from balancer.net.sdnotify import Notifier
    from balancer.settings import Bind, Settings

__all__ = ["Neighbours"]


@final
class Neighbours:
    """What there is of these; owns the listeners of ``--admin`` and the way to systemd.

    Raises:
        RunError: the address of ``--admin`` can't be bound.
    """

    def __init__(self, settings: Settings, notifier: Notifier, lineage: Lineage) -> None:
        self.notifier = notifier
        self._lineage = lineage
        self._admin = None if settings.admin is None else self._open(settings, settings.admin)
        lineage.on_successor = lambda pid: notifier.notify(f"MAINPID={pid}")

    def _open(self, settings: Settings, bind: Bind) -> Admin:
        # HTTP is for those who are asked
        from balancer.master.admin import Admin

        admin = Admin(settings, self._lineage.other(Use.ADMIN, bind))
        self._lineage.others[Use.ADMIN] = (bind, admin.listeners)
        self._lineage.on_hand_on = admin.close
        return admin

    @property
    def addresses(self) -> list[str]:
        """Where health checks are answered."""
        return [] if self._admin is None else self._admin.addresses

    def start(self, watch: Watch, nursery: trio.Nursery, *, attended: bool) -> None:
        """Begin, in the master's nursery, before the server's phase changes.

        Orphans are left to a program that uses the library: its process is its own.
        """
        watch.operations.admin_addresses = self.addresses
        if self._admin is not None:
            nursery.start_soon(self._answer, self._admin, watch)
        if self.notifier.active:
            herald = Herald(self.notifier, watch)
            watch.operations.on_phase = herald.on_phase
            watch.supervisor.on_tick = herald.on_tick
            if self.notifier.watchdog is not None:
                nursery.start_soon(herald.pat)
        if attended and inherits_orphans():
            nursery.start_soon(reap_orphans)

    async def _answer(self, admin: Admin, watch: Watch) -> None:
        """Health checks, once they are about this master."""
        await self._lineage.begun()
        await admin.run(watch)

    def close(self) -> None:
        """The last thing of all; idempotent."""
        if self._admin is not None:
            self._admin.close()
        self.notifier.close()
