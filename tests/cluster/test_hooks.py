"""Hooks of a call: the master's are called where they are, the workers' are found by import."""

from __future__ import annotations

import os
import signal
from textwrap import dedent
from typing import TYPE_CHECKING, Any

import pytest
import trio

import balancer
from balancer import Message, UsageError, current_worker
from balancer.cluster.assemble import assemble
from tests.cluster.lab import APP, answer, ask, cluster, connect, get, listening, rest, until
from tests.cluster.test_scripts import ends, port, running
from tests.faults.lab import until as wait_until
from tests.support import raw

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from balancer.hooks import Server, Worker

HERE = __name__


class Setup:
    """What hooks may be: anything that has a name in a module."""

    @staticmethod
    def post_fork(_server: Server, worker: Worker) -> None:
        os.environ["FROM_HOOK"] = f"{worker.id} {worker.pid == os.getpid()} {current_worker()}"


def broken(_worker: Worker) -> None:
    raise ValueError("no database")


def short(_worker: Worker, _req: object) -> None:
    """gunicorn's first form of post_request."""
    os.environ["REQUESTS"] = str(int(os.environ.get("REQUESTS", "0")) + 1)


async def test_hooks_of_both_kinds() -> None:
    said: list[tuple[Any, ...]] = []  # a closure is as good as anything in the master
    hooks = {
        "on_starting": lambda server: said.append(("starting", server.pid == os.getpid())),
        "when_ready": lambda _server: said.append(("ready",)),
        "child_exit": lambda _server, worker: said.append((worker.id, worker.exit_code)),
        "on_exit": lambda _server: said.append(("exit",)),
        "post_fork": Setup.post_fork,
        "post_request": short,
        "on_reload": None,
    }
    async with cluster(hooks=hooks) as opened:
        events = opened.events()
        (first,) = await listening(events, 1)
        assert await get(opened) == "1"
        about = await ask(events, first, "about")
        assert about["env"]["FROM_HOOK"] == "1 True <worker 1 (slot 1)>"
        assert about["env"]["REQUESTS"] == "1"
        first.kill(signal.SIGKILL)
        (second,) = await listening(events, 1)
        about = await ask(events, second, "about")
        assert about["env"]["FROM_HOOK"].startswith("2 True ")
        assert "FROM_HOOK" not in os.environ
    assert said == [("starting", True), ("ready",), (1, -signal.SIGKILL), (2, 0), ("exit",)]


async def test_hooks_of_a_call_go_before_those_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "conf.py"
    file.write_text(
        dedent("""
        import os
        def post_fork(server, worker): os.environ["FROM_HOOK"] = "the file"
        def post_worker_init(worker): os.environ["FROM_FILE"] = "the file"
        def on_starting(server): raise RuntimeError("not this one")
        """)
    )
    hooks = {"post_fork": Setup.post_fork, "on_starting": lambda _server: None}
    async with cluster(hooks=hooks, config=str(file)) as opened:
        events = opened.events()
        (worker,) = await listening(events, 1)
        about = await ask(events, worker, "about")
    assert about["env"]["FROM_HOOK"].startswith("1 True")
    assert about["env"]["FROM_FILE"] == "the file"


async def test_a_file_keeps_its_post_fork_beside_other_hooks(tmp_path: Path) -> None:
    file = tmp_path / "conf.py"
    file.write_text("import os\ndef post_fork(s, w): os.environ['FROM_FILE'] = 'yes'\n")
    async with cluster(hooks={"post_request": short}, config=str(file)) as opened:
        events = opened.events()
        (worker,) = await listening(events, 1)
        about = await ask(events, worker, "about")
    assert about["env"]["FROM_FILE"] == "yes"


async def test_a_worker_in_which_a_hook_fails_is_not_ready() -> None:
    with pytest.raises(balancer.BootError, match="hook post_worker_init failed: ValueError: no"):
        async with cluster(hooks={"post_worker_init": broken}):
            await trio.sleep_forever()


async def test_requests_in_progress_are_between_the_hooks() -> None:
    async with cluster(hooks={"post_request": short}) as opened:
        events = opened.events()
        (worker,) = await listening(events, 1)
        held = await connect(opened, "/hold")
        await until(events, Message)
        assert "REQUESTS" not in (await ask(events, worker, "about"))["env"]
        await worker.send({"do": "release"})
        assert await answer(held) == "1"
        assert (await ask(events, worker, "about"))["env"]["REQUESTS"] == "1"
        await opened.disconnect()
        assert await rest(events)


def closure() -> Callable[..., None]:
    def inner(_worker: Worker) -> None: ...

    return inner


@pytest.mark.parametrize(
    ("hooks", "message"),
    [
        ({"post_forked": broken}, "hooks: post_forked: there is no such hook (there are "),
        ({"post_fork": "x:y"}, "hooks: post_fork = 'x:y': a hook must be a function"),
        ({"post_fork": broken}, "hooks: post_fork: a hook by this name must take 2 argument(s)"),
        ([broken], "hooks=[<function broken at "),
        (
            {"worker_int": lambda _worker: None},
            (
                "hook worker_int <lambda>: workers import it, so it has to be an attribute of a "
                "module; assign it to a name at the top level"
            ),
        ),
        ({"worker_int": closure()}, "hook worker_int closure.<locals>.inner: workers import it"),
        ({"worker_int": Setup().__class__.__init__}, "hook worker_int object.__init__: workers"),
    ],
)
def test_hooks_that_no_worker_could_find(hooks: Any, message: str) -> None:  # noqa: ANN401
    with pytest.raises(UsageError) as caught:
        assemble([APP], {}, caller=HERE, env={}, hooks=hooks)
    assert str(caught.value).startswith(message)
    assert "import string" not in str(caught.value)


def test_a_lambda_of_the_master_is_fine_and_so_is_one_with_a_name() -> None:
    made = assemble([APP], {}, caller=HERE, env={}, hooks={"on_exit": lambda _server: None})
    assert made.hooks is not None
    assert "on_exit" in made.hooks
    assert made.settings.config is None
    made = assemble([APP], {}, caller=HERE, env={}, hooks={"worker_int": NAMED})
    assert made.settings.config is not None
    assert made.settings.config.calls == (("worker_int", f"{HERE}:NAMED"),)


NAMED: Callable[..., None] = lambda _worker: None  # noqa: E731 - it is about lambdas

SCRIPT = """
    import os
    import balancer

    LOADED = []

    async def app(exchange):
        await exchange.respond(200, [], f"{__name__} {LOADED} {os.environ['SET']}".encode())

    def setup(server, worker):
        LOADED.append(worker.id)
        os.environ["SET"] = "before the app" if "post_fork" in HOOKS else "?"

    def bye(server, worker):
        print("bye from", worker.slot, flush=True)

    def ready(server):
        print("all are ready in", __name__, flush=True)

    HOOKS = {"post_fork": setup, "worker_exit": bye, "when_ready": ready}

    if __name__ == "__main__":
        balancer.run(app, interface="native", workers=1, hooks=HOOKS)
"""


@pytest.mark.parametrize("way", ["file", "module", "preload"])
def test_hooks_in_the_main_script(tmp_path: Path, way: str) -> None:
    text = dedent(SCRIPT)
    if way == "preload":
        text = text.replace("workers=1,", "workers=1, preload=True,")
    (tmp_path / "script.py").write_text(text)
    how = ["-m", "script"] if way == "module" else [str(tmp_path / "script.py")]
    with running(*how, cwd=tmp_path) as process:
        process.wait_for_line("all are ready in __main__", deadline=15)
        body = raw.get(port(process)).body.decode()
        assert body == "__mp_main__ [1] before the app"
        process.send_signal(signal.SIGTERM)
        process.wait_for_line("bye from 1", deadline=10)


def test_a_reload_finds_the_hooks_again(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(dedent(SCRIPT))
    with running(str(script)) as process:
        process.wait_for_line("all are ready", deadline=15)
        script.write_text(dedent(SCRIPT).replace("before the app", "after the reload"))
        process.send_signal(signal.SIGHUP)
        process.wait_for_line("reload: done", deadline=15)
        wait_until(lambda: b"after the reload" in raw.get(port(process)).body)


def test_a_hook_behind_the_guard_is_one_sentence(tmp_path: Path) -> None:
    text = """
        import balancer
        async def app(exchange): ...
        if __name__ == "__main__":
            def setup(worker): ...
            balancer.run(app, interface="native", hooks={"worker_int": setup})
    """
    code, lines = ends(tmp_path / "script.py", text)
    assert code == 3
    assert lines[-1] == (
        "balancer: error: no worker became ready: the last one failed to start: hook post_fork "
        "failed: hook worker_int (__main__:setup): __main__ has no attribute setup"
    )
    assert not any("Traceback" in line for line in lines)


def test_hooks_of_an_interactive_session(tmp_path: Path) -> None:
    code = "import balancer\ndef f(worker): ...\nbalancer.run('x:y', hooks={'worker_int': f})"
    _, lines = ends(tmp_path / "unused", "", "-c", code)
    assert "hook worker_int __main__:f: an interactive session is no file" in lines[-1]
