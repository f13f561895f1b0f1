"""``balancer check``, ``balancer config`` and gunicorn's flags for them, up to exit codes."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result

from balancer.cli import main
from balancer.settings.table import SETTINGS

if TYPE_CHECKING:
    from pathlib import Path

WHOLE = """\
workers = 4
raw_env = ["TOKEN=geheim", "A=b"]

[apps.site]
app = "shop:app"
limit_request_body = "8MiB"

[pools.api]
upstreams = ["10.0.0.1:9000"]

[[listeners]]
bind = "127.0.0.1:8001"
app = "site"
[[listeners]]
bind = [":8002", "unix:/run/x.sock"]
pool = "api"
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with an app in it, and an environment that says nothing."""
    for name in list(os.environ):
        if name.startswith("BALANCER_") or name in {"PORT", "WEB_CONCURRENCY"}:
            monkeypatch.delenv(name)
    (tmp_path / "shop.py").write_text("async def app(scope, receive, send): ...\n")
    (tmp_path / "b.toml").write_text(WHOLE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def invoke(*args: str) -> Result:
    return CliRunner().invoke(main, args)


def lines(result: Result) -> list[str]:
    return result.stdout.splitlines()


# -- check ----------------------------------------------------------------------------------------


def test_what_is_in_order() -> None:
    result = invoke("check", "-c", "b.toml")
    assert (result.exit_code, result.output) == (0, "b.toml: ok\n")
    result = invoke("check")
    assert (result.exit_code, result.output) == (0, "configuration: ok\n")


def test_every_error_in_the_order_of_the_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "b.toml").write_text(
        'workers = "many"\nqueu = 3\nmax_requests_jitter = 5\n[apps.x]\napp = "shop:app"\n'
        "threads = 0\n"
    )
    monkeypatch.setenv("BALANCER_QUEUE", "x")
    monkeypatch.setenv("BALANCER_WORKRS", "3")
    result = invoke("check", "-c", "b.toml", "-t", "0.1")
    assert result.exit_code == 2
    assert lines(result) == [
        'b.toml:1: workers = "many": not a whole number',
        "b.toml:2: queu: unknown key; did you mean queue?",
        "b.toml:3: max_requests_jitter 5: has no effect without --max-requests",
        "b.toml:6: apps.x.threads = 0: must be at least 1",
        "BALANCER_QUEUE=x: not a whole number",
        "-t 0.1: must be at least 1s",
        "BALANCER_WORKRS: there is no such setting; did you mean BALANCER_WORKERS?",
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("workers = \n", "b.toml:1: not TOML: Invalid value (column 11)"),
        ("a = 1\na = 2\n", "b.toml:2: not TOML: Cannot overwrite a value (column 6)"),
        ("chdir = '/none'\n", "b.toml:1: chdir /none: there is no such folder"),
        ("app_dir = 'none'\n", "b.toml:1: app_dir none: there is no such folder"),
    ],
)
def test_one_error(text: str, problem: str, folder: Path) -> None:
    (folder / "b.toml").write_text(text)
    result = invoke("check", "-c", "b.toml")
    assert (result.exit_code, lines(result)) == (2, [problem])


def test_a_python_file_that_fails_shows_its_traceback(folder: Path) -> None:
    (folder / "b.py").write_text("workers = True\nbind = 3\n")
    assert lines(invoke("check", "-c", "b.py")) == [
        "b.py:1: workers = True: must be a number",
        "b.py:2: bind = 3: must be a string or a list of strings",
    ]
    (folder / "b.py").write_text("1 / 0\n")
    result = invoke("check", "-c", "b.py")
    assert result.exit_code == 2
    assert lines(result)[0] == "-c b.py: ZeroDivisionError: division by zero"
    assert "b.py" in lines(result)[2]
    (folder / "b.py").write_text("statsd_host = 'x'\n")
    result = invoke("check", "-c", "b.py")
    assert (result.exit_code, result.stdout) == (0, "b.py: ok\n")
    assert result.stderr == "warning: -c b.py: no effect here: statsd_host\n"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("1 / 0", "app mine:app: can't import mine: ZeroDivisionError: division by zero"),
        ("", "app mine:app: mine has no attribute app"),
        ("app = 3", "app mine:app: app is"),
        ("import os; os._exit(3)",
         "app mine:app: ends the process that imports it, with exit code 3"),
        ("import os; os.kill(os.getpid(), 9)",
         "app mine:app: ends the process that imports it, by signal 9"),
        ("import sys; sys.exit(3)", "app mine:app: can't import mine: SystemExit: 3"),
    ],
)  # fmt: skip
def test_an_app_that_cannot_be_imported(text: str, problem: str, folder: Path) -> None:
    (folder / "mine.py").write_text(f"{text}\n")
    result = invoke("serve", "--check-config", "mine:app")
    assert result.exit_code == 4
    assert lines(result)[0].startswith(problem)


def test_an_app_that_never_comes_back(folder: Path) -> None:
    (folder / "mine.py").write_text("import time; time.sleep(60)\n")
    result = invoke("serve", "--check-config", "mine:app", "--boot-timeout", "500ms")
    assert result.exit_code == 4
    assert lines(result) == ["app mine:app: is not imported after 500ms (--boot-timeout)"]


def test_apps_are_tried_as_in_a_worker(folder: Path) -> None:
    """Factories are called; the folder, the environment and the other apps are the server's."""
    (folder / "b.toml").write_text(
        'raw_env = ["X=1"]\nchdir = "sub"\napp_dir = "src"\n'
        '[apps.one]\napp = "a:make()"\n[apps.two]\napp = "b:app"\n[apps.three]\napp = "c:app"\n'
        '[[listeners]]\nbind = ":1"\napp = "one"\n[[listeners]]\nbind = ":2"\napp = "two"\n'
        '[[listeners]]\nbind = ":3"\napp = "three"\n'
    )
    source = folder / "sub" / "src"
    source.mkdir(parents=True)
    (source / "a.py").write_text("import os\ndef make(): raise ValueError(os.environ['X'])\n")
    (source / "b.py").write_text("print('hello')\nasync def app(scope, receive, send): ...\n")
    result = invoke("check", "-c", "b.toml")
    assert result.exit_code == 4
    first, second = [line for line in lines(result) if not line.startswith(" ")]
    assert first == "app a:make(): the factory failed: ValueError: 1"
    assert second.startswith("app c:app: can't import c: ModuleNotFoundError: No module named 'c'")


def test_whom_a_broken_app_has_started_goes_with_it(folder: Path) -> None:
    reading, writing = os.pipe()
    os.set_inheritable(writing, True)
    (folder / "mine.py").write_text(
        "import subprocess\n"
        f"subprocess.Popen(['sleep', '60'], pass_fds=[{writing}])\n"
        "async def app(scope, receive, send): ...\n"
    )
    # the child must have the pipe to give it on
    import subprocess

    real = subprocess.Popen

    def popen(*args: object, pass_fds: list[int], **rest: object) -> object:
        return real(*args, pass_fds=[*pass_fds, writing], **rest)  # type: ignore[call-overload]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("balancer.cli.trial.subprocess.Popen", popen)
        assert invoke("serve", "--check-config", "mine:app").exit_code == 0
    os.close(writing)
    with open(reading, "rb") as end:
        assert end.read() == b""  # comes when nobody has the other end


# -- what starts a server -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["serve", "--check-config", "shop:app"], 0, "configuration: ok"),
        (["proxy", "--check-config", "a:1"], 0, "configuration: ok"),
        (["run", "--check-config", "-c", "b.toml"], 0, "b.toml: ok"),
        (["serve", "--check-config", "-w", "0", "shop:none"], 2, "-w 0: must be at least 1"),
        (["serve", "--check-config", "shop:none"], 4, "app shop:none: shop has no attribute none"),
        (["proxy", "--check-config"], 2,
         "UPSTREAM: name at least one server to stand in front of, such as 127.0.0.1:9000"),
        (["serve", "--check-config", "-c", "b.toml"], 2,
         "-c: has tables (site, api), which are for another command: balancer run"),
        (["proxy", "--print-config", "-c", "b.toml"], 2,
         "-c: has tables (site, api), which are for another command: balancer run"),
        (["serve", "--print-config", "-w", "0"], 2, "-w 0: must be at least 1"),
    ],
)  # fmt: skip
def test_gunicorns_flag(args: list[str], code: int, said: str) -> None:
    result = invoke(*args)
    assert result.exit_code == code
    (line,) = lines(result)
    assert line.startswith(said)


def test_gunicorns_other_flag_prints_everything() -> None:
    result = invoke("serve", "--print-config", "shop:app", "-w", "3")
    assert result.exit_code == 0
    shown = {line.split()[0]: line.split()[1:] for line in lines(result)}
    assert list(shown) == list(SETTINGS)
    assert shown["app"] == ["shop:app", "APP"]
    assert shown["workers"] == ["3", "-w"]
    assert shown["backlog"] == ["2048", "default"]


# -- config ---------------------------------------------------------------------------------------


def test_what_was_set_and_by_whom(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEB_CONCURRENCY", "3")
    monkeypatch.setenv("BALANCER_QUEUE", "64")
    result = invoke("config", "-c", "b.toml", "--keep-alive", "1m30s")
    assert result.exit_code == 0
    assert (
        result.stdout
        == """\
bind                127.0.0.1:8001 0.0.0.0:8002 unix:/run/x.sock  b.toml
workers             3                                             WEB_CONCURRENCY
queue               64                                            BALANCER_QUEUE
keep_alive          1m30s                                         --keep-alive
raw_env             TOKEN=… A=…                                   b.toml:2

[apps.site]
app                 shop:app                                      b.toml:5
bind                127.0.0.1:8001                                b.toml:12
limit_request_body  8MiB                                          b.toml:6

[pools.api]
bind                0.0.0.0:8002 unix:/run/x.sock                 b.toml:15
upstreams           10.0.0.1:9000                                 b.toml:9
"""
    )


def test_nothing_was_set() -> None:
    assert invoke("config").stdout == "nothing is set: every default holds (--all shows them)\n"


def test_a_port_that_a_platform_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "5000")
    assert invoke("config").stdout == "bind  0.0.0.0:5000  PORT\n"


def test_all() -> None:
    shown = lines(invoke("config", "--all", "-c", "b.toml"))
    names = [line.split()[0] for line in shown if line]
    whole = names[: names.index("[apps.site]")]
    assert whole == [name for name in SETTINGS if name not in {"app", "upstreams"}]
    of_app = names[len(whole) + 1 : names.index("[pools.api]")]
    assert set(of_app) == {"bind"} | {n for n, each in SETTINGS.items() if "apps" in each.tables}


def test_json() -> None:
    result = invoke("config", "--json", "-c", "b.toml", "-t", "45s", "--recall", "off")
    found = json.loads(result.stdout)
    settings = found["settings"]
    assert list(settings) == list(SETTINGS)
    assert settings["workers"] == {
        "value": 4, "source": {"from": "file", "name": "workers", "file": "b.toml", "line": 1},
    }  # fmt: skip
    assert settings["timeout"] == {"value": 45.0, "source": {"from": "flag", "name": "-t"}}
    assert settings["recall"]["value"] is None
    assert settings["backlog"]["source"] == {"from": "default", "name": "default"}
    assert settings["raw_env"]["value"] == ["TOKEN=…", "A=…"]
    site, api = found["services"]
    assert (site["name"], site["kind"], site["bind"]) == ("site", "apps", ["127.0.0.1:8001"])
    assert site["settings"]["limit_request_body"]["value"] == 8 << 20
    assert (api["name"], api["kind"]) == ("api", "pools")
    assert api["settings"]["upstreams"]["value"] == ["10.0.0.1:9000"]


@pytest.mark.parametrize("command", ["config", "check"])
def test_no_secret_is_printed(command: str) -> None:
    for flags in ([], ["--json"], ["--all"]) if command == "config" else ([],):
        assert "geheim" not in invoke(command, "-c", "b.toml", *flags).output


def test_errors_instead_of_settings() -> None:
    result = invoke("config", "-w", "0", "-t", "x")
    assert result.exit_code == 2
    assert len(lines(result)) == 2
