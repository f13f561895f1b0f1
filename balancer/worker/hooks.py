"""The hooks that run in a worker: found by the fork server, called in each process forked from it.

The configuration file runs once in the master, for the settings, and once in each fork server, for
the functions: they can't travel from one process to the other, but they can be inherited.  A reload
starts a new fork server and so reads them again.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol, final

from balancer.errors import BootError
from balancer.hooks import Hooks, Response, Server, Worker, explain
from balancer.http1.errors import ClientGone, RequestError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import FrameType

    from balancer.core.messages import WorkerConfig
    from balancer.http1.exchange import Exchange, Handler
    from balancer.http1.transport import Address
    from balancer.settings.source import ConfigSource

__all__ = ["Request", "WorkerHooks", "load_hooks"]


@lru_cache(maxsize=1)
def load_hooks(source: ConfigSource | None) -> Hooks:
    """The hooks of a configuration file, which is read once; UsageError when it is broken."""
    if source is None:
        return Hooks()
    # ast and difflib are for those who have a file
    from balancer.settings.python import read_python

    return Hooks(read_python(source).functions)


class Asked(Protocol):
    """What is asked of a request: of ``http1.Exchange``, or of uvicorn's."""

    @property
    def method(self) -> str: ...

    @property
    def target(self) -> bytes: ...

    @property
    def path(self) -> bytes: ...

    @property
    def query(self) -> bytes: ...

    @property
    def http_version(self) -> str: ...

    @property
    def headers(self) -> Iterable[tuple[bytes, bytes]]: ...

    @property
    def client(self) -> Address: ...


@final
class WorkerHooks:
    """Calls a worker's hooks; each method is the hook by that name."""

    def __init__(self, config: WorkerConfig, hooks: Hooks, worker_id: int, slot: int) -> None:
        self._hooks = hooks
        self._server = Server(config.master_pid, config)
        self._worker = Worker(worker_id, slot, os.getpid(), config)

    def post_fork(self) -> None:
        """BootError when it fails."""
        self._set_up("post_fork", self._server, self._worker)

    def post_worker_init(self) -> None:
        """BootError when it fails."""
        self._set_up("post_worker_init", self._worker)

    def worker_int(self) -> None:
        self._hooks.call("worker_int", self._worker)

    def worker_exit(self) -> None:
        self._hooks.call("worker_exit", self._server, self._worker)

    def watch_abort(self) -> None:
        """From now on SIGABRT calls ``worker_abort``, if there is one, and then ends the process.

        To be called before ``faulthandler.enable()``, whose handler comes first: it writes the
        stacks also where no Python runs any more, and then passes the signal on to this one.
        """
        if "worker_abort" in self._hooks:
            signal.signal(signal.SIGABRT, self._abort)

    @property
    def per_request(self) -> bool:
        """Whether there is one to be called for every request."""
        return "pre_request" in self._hooks or "post_request" in self._hooks

    def around(self, handler: Handler) -> Handler:
        """The handler, with ``pre_request`` and ``post_request`` around it."""

        async def handle(exchange: Exchange) -> None:
            request = self.begin(exchange)
            failure = 0
            try:
                await handler(exchange)
            except Exception as error:
                failure = _status(error)
                raise
            finally:
                self.end(request, exchange.status or failure)

        return handle

    def begin(self, exchange: Asked) -> Request:
        """``pre_request``; what comes back is for ``end``."""
        request = Request(exchange)
        self._hooks.call("pre_request", self._worker, request)
        return request

    def end(self, request: Request, status: int) -> None:
        """``post_request``; status 0: there was no answer."""
        self._hooks.call("post_request", self._worker, request, {}, Response(status))

    def _set_up(self, name: str, *args: object) -> None:
        try:
            self._hooks.run(name, *args)
        except (Exception, SystemExit) as error:
            sentence, details = explain(error)
            raise BootError(f"hook {name} failed: {sentence}\n{details}") from error

    def _abort(self, number: int, _frame: FrameType | None) -> None:
        self._hooks.call("worker_abort", self._worker)
        if sys.stderr is not None:
            faulthandler.disable()
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)


def _status(error: Exception) -> int:
    """Which status the engine will send for what a handler raised, 0 where there is nobody."""
    if isinstance(error, ClientGone):
        return 0
    return error.status if isinstance(error, RequestError) else 500


@final
class Request:
    """A request, as ``pre_request`` and ``post_request`` see it: gunicorn's names, as text."""

    def __init__(self, exchange: Asked) -> None:
        self._exchange = exchange

    @property
    def method(self) -> str:
        """``GET``."""
        return self._exchange.method

    @property
    def uri(self) -> str:
        """The target as it was sent."""
        return self._exchange.target.decode("latin-1")

    @property
    def path(self) -> str:
        """The path of the target, not decoded."""
        return self._exchange.path.decode("latin-1")

    @property
    def query(self) -> str:
        """What follows the question mark, not decoded."""
        return self._exchange.query.decode("latin-1")

    @property
    def version(self) -> tuple[int, int]:
        """``(1, 1)``."""
        major, _, minor = self._exchange.http_version.partition(".")
        return int(major), int(minor)

    @property
    def headers(self) -> list[tuple[str, str]]:
        """In order, names in upper case, as gunicorn has them."""
        return [
            (name.decode("latin-1").upper(), value.decode("latin-1"))
            for name, value in self._exchange.headers
        ]

    @property
    def remote_addr(self) -> Address:
        """The address of the connection's other end."""
        return self._exchange.client
