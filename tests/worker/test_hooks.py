"""A worker's hooks: around requests, and at its start."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from balancer.core.messages import WorkerConfig
from balancer.errors import BootError, UsageError
from balancer.hooks import Hooks
from balancer.http1.errors import ClientGone, RequestError
from balancer.http1.tally import NullStats
from balancer.settings import Interface
from balancer.settings.source import ConfigSource
from balancer.worker.app import App
from balancer.worker.hooks import Request, WorkerHooks, load_hooks
from balancer.worker.services import make_service
from tests.http1.fakes import answer_to

if TYPE_CHECKING:
    from pathlib import Path

    from balancer.hooks import Response, Server, Worker
    from balancer.http1.exchange import Exchange

REQUEST = b"GET /a%20b?c=d HTTP/1.1\r\nHost: x\r\nX-Name: y\r\nConnection: close\r\n\r\n"


class Nobody:
    """A host that is never asked."""

    def seats(self, free: int) -> None:
        raise NotImplementedError

    def leave(self, reason: str) -> None:
        raise NotImplementedError

    def give_up(self) -> None:
        raise NotImplementedError


def worker_hooks(**functions: Any) -> WorkerHooks:  # noqa: ANN401
    return WorkerHooks(WorkerConfig(master_pid=17), Hooks(functions), 3, 2)


async def hello(exchange: Exchange) -> None:
    await exchange.respond(201, [(b"x", b"y")], b"hello")


def test_only_two_of_them_cost_something_per_request() -> None:
    assert not worker_hooks(post_fork=lambda _s, _w: None).per_request
    assert worker_hooks(pre_request=lambda _w, _r: None).per_request
    assert worker_hooks(post_request=lambda _w, _r: None).per_request


def test_where_they_are_not_called_that_is_said(caplog: pytest.LogCaptureFixture) -> None:
    app = App("stream:x:y", hello, Interface.STREAM, guessed=False)
    around = worker_hooks(pre_request=lambda _w, _r: None).around
    make_service(WorkerConfig(), app, 1, NullStats(), Nobody())
    assert not caplog.records
    make_service(WorkerConfig(), app, 1, NullStats(), Nobody(), around=around)
    assert "hooks pre_request and post_request: not called for this app" in caplog.text


async def test_around_a_request() -> None:
    told: list[object] = []

    def pre_request(worker: Worker, req: Request) -> None:
        told.append((worker.id, worker.slot, worker.pid, req.method, req.uri, req.path, req.query))
        told.append((req.version, req.headers, req.remote_addr))

    def post_request(worker: Worker, req: Request, environ: object, resp: Response) -> None:
        told.append((worker.age, req.uri, environ, resp.status_code))

    hooks = worker_hooks(pre_request=pre_request, post_request=post_request)
    assert (await answer_to(hooks.around(hello), REQUEST)).startswith(b"HTTP/1.1 201")
    first, second, last = told
    assert first == (3, 2, os.getpid(), "GET", "/a%20b?c=d", "/a%20b", "c=d")
    headers = [("HOST", "x"), ("X-NAME", "y"), ("CONNECTION", "close")]
    assert isinstance(second, tuple)
    assert second[:2] == ((1, 1), headers)
    assert last == (3, "/a%20b?c=d", {}, 201)


@pytest.mark.parametrize(
    ("error", "status"), [(ValueError("x"), 500), (RequestError(413, "x"), 413), (ClientGone(), 0)]
)
async def test_after_one_that_failed(error: Exception, status: int) -> None:
    told: list[int] = []

    async def fail(_exchange: Exchange) -> None:
        raise error

    hooks = worker_hooks(post_request=lambda _w, _r, _e, resp: told.append(resp.status_code))
    await answer_to(hooks.around(fail), REQUEST)
    assert told == [status]


async def test_one_that_fails_does_no_harm(caplog: pytest.LogCaptureFixture) -> None:
    def fail(*_: object) -> None:
        raise KeyError("oops")

    hooks = worker_hooks(pre_request=fail, post_request=fail)
    assert (await answer_to(hooks.around(hello), REQUEST)).startswith(b"HTTP/1.1 201")
    assert "hook pre_request failed: KeyError: 'oops'\nTraceback" in caplog.text
    assert "hook post_request failed: KeyError: 'oops'\nTraceback" in caplog.text


def test_set_up_that_fails_is_a_failed_start() -> None:
    def fail(*_: object) -> None:
        raise KeyError("oops")

    hooks = worker_hooks(post_fork=fail, post_worker_init=fail)
    with pytest.raises(BootError, match=r"^hook post_fork failed: KeyError: 'oops'\nTraceback"):
        hooks.post_fork()
    with pytest.raises(BootError, match=r"^hook post_worker_init failed: KeyError: 'oops'\nTrace"):
        hooks.post_worker_init()


def test_what_they_are_told() -> None:
    told: list[tuple[int, object]] = []

    def note(server: Server, worker: Worker) -> None:
        told.append((server.pid, worker.cfg))

    worker_hooks(worker_exit=note).worker_exit()
    assert told == [(17, WorkerConfig(master_pid=17))]


def test_they_are_read_once_from_the_file(tmp_path: Path) -> None:
    file = tmp_path / "conf.py"
    file.write_text("def worker_int(worker): ...\n")
    source = ConfigSource("conf.py", str(tmp_path))
    hooks = load_hooks(source)
    assert "worker_int" in hooks
    file.unlink()
    assert load_hooks(source) is hooks
    assert not load_hooks(None)
    with pytest.raises(UsageError, match=r"^-c conf.py: No such file"):
        load_hooks(source)
