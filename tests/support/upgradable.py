"""A server that is replaced by another process, and is the same server all the same."""

from __future__ import annotations

import contextlib
import os
import signal
from typing import TYPE_CHECKING

from balancer.cli.client import ask as ask_server
from balancer.cli.client import locate
from balancer.core.control import Upgrade
from tests.faults.lab import process_state, until
from tests.support.server import BalancerServer

if TYPE_CHECKING:
    from balancer.core.control import Reply
    from tests.support.server import Status


class Upgradable(BalancerServer):
    """A server whose master is another process after an upgrade."""

    _successor: int | None = None

    @property
    def pid(self) -> int:
        return self._successor or self.process.pid

    def upgrade(self) -> Reply:
        """Upgrade and wait for it; a refusal is in the reply."""
        return ask_server(locate(None, str(self.control)), Upgrade(wait=True), 20.0)

    def upgraded(self, *, drained: bool = True) -> Status:
        """Wait until another master serves, and as a rule the old one has left."""
        before = self.pid
        status = self.wait_for(
            lambda status: (
                status["master"]["pid"] != before
                and status["master"]["state"] == "running"
                and not (drained and status["master"].get("leaving"))
            ),
            deadline=30,
        )
        self._successor = status["master"]["pid"]
        if drained:
            until(lambda: process_state(before) == "Z", what=f"{before} is gone")
        return status

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def finish(self) -> None:
        if self._successor is not None:
            successor = self._successor
            with contextlib.suppress(ProcessLookupError):
                self.signal(signal.SIGTERM)
            until(lambda: process_state(successor) == "Z", deadline=self.stop_deadline)
            assert self.log_lines()[-1].endswith("stopped")
        super().finish()
