"""The master's side of a fork server, beside what the supervisor's tests show."""

from __future__ import annotations

import sys

import pytest
import trio

from balancer.core.messages import Configure, WorkerConfig
from balancer.forkserver.client import ForkServer
from tests.net.children import count_fds


async def test_one_that_cant_be_started_leaves_no_socket_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    configure = Configure(WorkerConfig(), "tests.forkserver.entry", 1.0)
    await trio.to_thread.run_sync(count_fds)  # the thread that starts processes costs some, once
    before = count_fds()
    with pytest.raises(FileNotFoundError) as failed:
        await ForkServer.start(configure)
    assert count_fds() == before, failed  # whose frames hold what was not closed
