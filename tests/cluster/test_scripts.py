"""Programs as files, run by python: how workers find what stands in them."""

from __future__ import annotations

import re
import signal
import sys
from contextlib import contextmanager
from pathlib import Path
from textwrap import dedent
from typing import TYPE_CHECKING

import pytest

from benchmarks.process import ServerProcess
from tests.support.raw import get

if TYPE_CHECKING:
    from collections.abc import Iterator

EXAMPLES = Path(__file__).parent / "examples"
ENV = {"BALANCER_BIND": "127.0.0.1:0", "BALANCER_WORKERS": "2", "BALANCER_NO_CONTROL": "true"}
LISTENING = r"listen\w* on (?:http://)?127\.0\.0\.1:(\d+)"


@contextmanager
def running(
    *arguments: str, cwd: Path | None = None, code: int | None = 0
) -> Iterator[ServerProcess]:
    """A script that runs until the block's end; then TERM, ``code``, and nobody left."""
    with ServerProcess([sys.executable, *arguments], env=ENV, cwd=cwd) as process:
        yield process
        assert process.stop(signal.SIGTERM, deadline=10) == code, process.tail(50)
        assert not process.survivors(deadline=2)


def port(process: ServerProcess) -> int:
    match = re.search(LISTENING, process.wait_for_line(LISTENING, deadline=15).text)
    assert match is not None
    return int(match[1])


def ends(path: Path, text: str, *arguments: str) -> tuple[int, list[str]]:
    """A script that ends by itself: its exit code and what it printed."""
    path.write_text(dedent(text))
    with ServerProcess([sys.executable, *(arguments or (str(path),))], env=ENV) as process:
        code = process.wait(deadline=15)
        assert not process.survivors(deadline=2)
        return code, [line for line in process.log_lines() if "[INFO]" not in line]


def test_the_example_of_the_readme() -> None:
    script = EXAMPLES / "hello.py"
    assert len(script.read_text().splitlines()) <= 15
    with running(str(script)) as process:
        process.wait_for_line("ready: 2 workers", deadline=15)
        answers = {get(port(process)).body.decode() for _ in range(4)}
        assert answers == {"Hello from worker 1\n", "Hello from worker 2\n"}


def test_the_longer_example(tmp_path: Path) -> None:
    # the program ends by the signal that nobody handles: workers see it and leave
    script = tmp_path / "supervised.py"
    text = (EXAMPLES / "supervised.py").read_text()
    script.write_text(text.replace("workers=2", 'workers=2, bind="127.0.0.1:0"'))
    with running(str(script), code=-signal.SIGTERM) as process:
        where = port(process)
        for _ in range(3):
            assert get(where).status == 200
        process.wait_for_line("requests: 3", deadline=10)


APP = """
    import os, sys
    import balancer

    class App:
        async def __call__(self, exchange):
            body = f"{__name__} {sys.argv[1:]} {COUNTER}"
            await exchange.respond(200, [], body.encode())

    COUNTER = "module state"
    app = App()

    if __name__ == "__main__":
        balancer.run(app, interface="native")
"""


@pytest.mark.parametrize("way", ["file", "module", "no suffix", "preload"])
def test_an_instance_in_the_main_script(tmp_path: Path, way: str) -> None:
    name = "script" if way == "no suffix" else "script.py"
    text = dedent(APP)
    if way == "preload":
        text = text.replace('"native")', '"native", preload=True)')
    (tmp_path / name).write_text(text)
    how = ["-m", "script"] if way == "module" else [str(tmp_path / name)]
    with running(*how, "an argument", cwd=tmp_path) as process:
        body = get(port(process)).body.decode()
    assert body == "__mp_main__ ['an argument'] module state"


def test_what_the_script_imports_from_its_own_folder(tmp_path: Path) -> None:
    (tmp_path / "neighbour.py").write_text(dedent(APP))
    (tmp_path / "script.py").write_text(
        "import balancer\nfrom neighbour import app\n"
        'if __name__ == "__main__":\n    balancer.run(app, interface="native")\n'
    )
    with running(str(tmp_path / "script.py")) as process:
        # found by the name that the script gave it
        assert get(port(process)).body.decode() == "neighbour [] module state"


@pytest.mark.parametrize("preload", [False, True])
def test_without_the_guard_it_is_one_sentence_and_no_recursion(
    tmp_path: Path, preload: bool
) -> None:
    text = f"""
        import balancer
        async def app(exchange): ...
        balancer.run(app, interface="native", preload={preload})
    """
    code, lines = ends(tmp_path / "script.py", text)
    assert code == 4
    assert lines[-1] == (
        "balancer: error: app __main__:app: balancer.run() was called in a worker, while it "
        'imports the app or later: put the call under if __name__ == "__main__":'
    )
    assert not any("Traceback" in line for line in lines)


def test_a_cluster_without_the_guard_too(tmp_path: Path) -> None:
    text = """
        import balancer, trio
        async def app(exchange): ...
        async def main():
            async with balancer.open_cluster(app, interface="native", bind="127.0.0.1:0"):
                await trio.sleep_forever()
        trio.run(main)
    """
    code, lines = ends(tmp_path / "script.py", text)
    assert code == 1
    assert "balancer.open_cluster() was called in a worker" in lines[-1]
    assert lines[-1].startswith("balancer.errors.AppError: app __main__:app: ")


@pytest.mark.parametrize(
    ("call", "code", "last"),
    [
        ("balancer.run(lambda: 0)", 1, "balancer.errors.UsageError: app <lambda>: workers import"),
        ("balancer.run('x:y', workers='many')", 1, "UsageError: workers='many': not a whole numb"),
        ("balancer.run('x:y', 'z:y')", 1, "UsageError: several apps: give each its address"),
        ("balancer.run('missing:app')", 4, "balancer: error: app missing:app: can't import missi"),
        ("balancer.run(bind='192.0.2.1:80')", 1, "error: bind 192.0.2.1:80: this machine has no"),
        ("balancer.run(bind='unix:/no/x')", 1, "balancer: error: bind unix:/no/x: no such direc"),
    ],
)
def test_what_cannot_be_served(tmp_path: Path, call: str, code: int, last: str) -> None:
    assert (found := ends(tmp_path / "script.py", f"import balancer\n{call}\n"))[0] == code
    assert last in found[1][-1]


def test_an_interactive_session_is_no_file(tmp_path: Path) -> None:
    code = "import balancer\nasync def app(exchange): ...\nbalancer.run(app)"
    _, lines = ends(tmp_path / "unused", "", "-c", code)
    assert "app __main__:app: an interactive session is no file" in lines[-1]
