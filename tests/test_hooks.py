"""Hooks: what may be one, and what happens when one fails or takes too long."""

from __future__ import annotations

import logging
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from balancer import hooks
from balancer.errors import UsageError
from balancer.hooks import HOOKS, Hooks, Response, Server, Worker

if TYPE_CHECKING:
    from collections.abc import Callable


def named(name: str) -> Callable[..., Any]:
    """A function of as many arguments as the hook has."""
    arguments = ", ".join(f"a{index}" for index in range(HOOKS[name]))
    function: Callable[..., Any] = eval(f"lambda {arguments}: ({arguments},)")
    return function


@pytest.mark.parametrize("name", HOOKS)
def test_every_hook_is_called_with_its_arguments(name: str) -> None:
    called: list[tuple[object, ...]] = []
    made = Hooks({name: lambda *args: called.append(args)})
    arguments = tuple(range(HOOKS[name]))
    made.call(name, *arguments)
    assert called == [arguments]
    assert name in made
    Hooks({name: named(name)}).run(name, *arguments)


def test_what_is_not_there_is_not_called() -> None:
    assert not Hooks()
    Hooks().run("on_exit", 1)
    Hooks().call("on_exit", 1)


@pytest.mark.parametrize("count", [2, 3, 4])
def test_post_request_may_take_fewer(count: int) -> None:
    called: list[object] = []
    arguments = ", ".join("abcd"[:count])
    function = eval(f"lambda {arguments}: note({arguments})", {"note": partial(_note, called)})
    Hooks({"post_request": function}).run("post_request", 1, 2, 3, 4)
    assert called == [1, 2, 3, 4][:count]


def _note(called: list[object], *args: object) -> None:
    called.extend(args)


def _one(_worker: object) -> None:
    pass


async def _async(_server: object) -> None:
    pass


@pytest.mark.parametrize(
    ("name", "function", "problem"),
    [
        ("on_start", print, "on_start: there is no such hook (there are on_starting, "),
        ("on_exit", 3, "on_exit = 3: a hook must be a function"),
        ("on_exit", lambda: None, "on_exit: a hook by this name must take 1 argument(s)"),
        ("on_exit", pow, "on_exit: a hook by this name must take 1 argument(s)"),
        ("pre_request", _one, "pre_request: a hook by this name must take 2 argument(s)"),
        ("on_exit", _async, "on_exit: a hook is a plain function, not an async one"),
    ],
)
def test_what_is_no_hook(name: str, function: Any, problem: str) -> None:  # noqa: ANN401
    with pytest.raises(UsageError) as caught:
        Hooks({name: function})
    assert str(caught.value).startswith(problem)


def _fail(_server: object) -> None:
    raise KeyError("oops")


def _leave(_server: object) -> None:
    sys.exit(7)


@pytest.mark.parametrize(
    ("function", "name", "error"),
    [(_fail, "_fail", "KeyError: 'oops'"), (_leave, "_leave", "SystemExit: 7")],
)
def test_one_that_fails_is_logged_with_its_own_traceback(
    function: Callable[..., Any], name: str, error: str, caplog: pytest.LogCaptureFixture
) -> None:
    Hooks({"on_exit": function}).call("on_exit", None)
    [record] = caplog.records
    lines = record.getMessage().splitlines()
    assert lines[0] == f"hook on_exit failed: {error}"
    assert lines[1] == "Traceback (most recent call last):"
    assert f"in {name}" in lines[2]
    assert lines[-1] == error
    assert "balancer/hooks.py" not in record.getMessage()


def test_one_that_takes_long_is_reported(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(hooks, "SLOW", -1.0)
    Hooks({"on_exit": lambda _: None}).call("on_exit", None)
    assert "hook on_exit took 0.0 s: the master did nothing else" in caplog.text
    Hooks({"worker_int": lambda _: None}).call("worker_int", None)
    assert "hook worker_int took 0.0 s: this worker did nothing else" in caplog.text


def test_what_hooks_are_told() -> None:
    server, worker = Server(17, "settings"), Worker(3, 2, 18, "settings")
    worker.mine = "anything"  # type: ignore[attr-defined]  # as hooks do
    assert (server.pid, server.cfg, worker.age, worker.exit_code) == (17, "settings", 3, None)
    assert str(worker) == "worker 3 (slot 2, pid 18)"
    assert server.log is worker.log is logging.getLogger("balancer")
    assert (Response(404).status_code, Response(404).status) == (404, "404")
