"""``-c FILE.py`` and ``-c python:module``: names are settings, functions are hooks."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING

import pytest

from balancer.errors import UsageError
from balancer.hooks import HOOKS
from balancer.settings import TcpBind, UnixBind
from balancer.settings.files import read_file
from balancer.settings.gunicorn import LACKING, RENAMED
from balancer.settings.load import flag_given, load
from balancer.settings.table import SETTINGS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from balancer.settings.source import Config

    Write = Callable[[str], str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write_file(text: str) -> str:
        file = tmp_path / "conf.py"
        file.write_text(text)
        return str(file)

    return write_file


def read(text: str, write: Write) -> Config:
    return read_file(write(text))


def test_gunicorns_names_mean_ours(write: Write, tmp_path: Path) -> None:
    file = write(
        "import multiprocessing\nfrom pathlib import Path\n"
        "bind = ['127.0.0.1:1', 'unix:/run/x']\n"
        "workers = multiprocessing.cpu_count() * 0 + 3\n"
        "timeout = 45\ngraceful_timeout = 20.5\nkeepalive = 5\nmax_requests = 1000\n"
        "max_requests_jitter = 50\nbacklog = 64\nworker_connections = 10\npreload_app = True\n"
        f"loglevel = 'debug'\npidfile = Path({str(tmp_path)!r}) / 'pid'\nproc_name = 'web'\n"
        "forwarded_allow_ips = '10.0.0.1,10.0.0.2'\nlimit_request_line = 4094\n"
        "limit_request_fields = 50\nchdir = '/'\nraw_env = ['A=1', 'B=2']\nreload = False\n"
        "wsgi_app = 'main:app'\nworker_class = 'sync'\n"
    )
    settings = load(file=file)
    assert settings.bind == (TcpBind("127.0.0.1", 1), UnixBind("/run/x"))
    assert (settings.workers, settings.timeout, settings.graceful_timeout) == (3, 45.0, 20.5)
    assert (settings.keep_alive, settings.max_requests, settings.backlog) == (5.0, 1000, 64)
    assert (settings.max_requests_jitter, settings.worker_connections) == (50, 10)
    assert (settings.preload, settings.log_level, settings.name) == (True, "debug", "web")
    assert settings.pid == str(tmp_path / "pid")
    assert settings.forwarded_allow_ips == ("10.0.0.1/32", "10.0.0.2/32")
    assert (settings.limit_request_line, settings.limit_request_fields) == (4094, 50)
    assert (settings.chdir, settings.raw_env, settings.reload) == ("/", ("A=1", "B=2"), False)
    assert (settings.app, settings.interface) == ("main:app", "wsgi")
    assert settings.where("keep_alive") == f"{file}:7: keepalive"
    assert read_file(file).warning is None


def test_so_do_our_own(write: Write) -> None:
    settings = load(file=write("keep_alive = '2m'\nworkers_lifetime = 3600\nrecall = 0.05\n"))
    assert (settings.keep_alive, settings.workers_lifetime, settings.recall) == (120, 3600, 0.05)


def test_precedence(write: Write) -> None:
    file = write("workers = 2\nqueue = 2\nwindow = 2\n")
    env = {"BALANCER_WORKERS": "3", "BALANCER_QUEUE": "3"}
    settings = load([flag_given("workers", "-w", "4", "4")], file=file, env=env)
    assert (settings.workers, settings.queue, settings.window, settings.backlog) == (4, 3, 2, 2048)


def test_none_and_an_empty_list_are_not_given(write: Write) -> None:
    text = "pidfile = None\nproc_name = None\nraw_env = []\nworkers = None\n"
    assert load(file=write(text)) == load()


@pytest.mark.parametrize(
    ("value", "head"), [("8190", 32768), ("4096", 32768), ("65536", 65536 + 32768)]
)
def test_a_larger_field_makes_a_larger_head(value: str, head: int, write: Write) -> None:
    config = read(f"limit_request_field_size = {value}\n", write)
    assert load(file=config).limit_request_head == head
    assert (config.warning is None) == (value != "4096")


def test_one_warning_names_all_that_has_no_effect(write: Write) -> None:
    config = read(
        "http_protocols = 'h1'\napps = {'x': {}}\npools = 3\n"
        "import os\nstatsd_host = 'x'\ndaemon = True\numask = 0\ncertfile = None\nerrorlog = '-'\n"
        "worker_class = 'gevent'\nworker = 3\nport = 8000\ndef post_forked(server, worker): ...\n"
        "def pre_exec(server): ...\nclass Helper: ...\ndef helper(): ...\n",
        write,
    )
    assert config.warning is not None
    assert config.warning.endswith(
        "conf.py: no effect here: apps, daemon, pre_exec, statsd_host, worker_class; "
        "no setting: worker (did you mean workers?), post_forked (did you mean post_fork?)"
    )
    assert [each.setting for each in config.given] == ["umask"]


def test_a_mask_is_a_number_here_and_octal_in_quotes_elsewhere(
    write: Write, tmp_path: Path
) -> None:
    assert load(file=read("umask = 0o027\n", write)).umask == 0o027
    assert load(file=read("umask = 0\n", write)).umask == 0
    assert load(file=read("umask = '022'\n", write)).umask == 0o022
    toml = tmp_path / "x.toml"
    toml.write_text("umask = 22\n")
    with pytest.raises(UsageError, match=r"umask = 22: must be an octal number in quotes"):
        load(file=str(toml))


def test_functions_are_hooks(write: Write) -> None:
    config = read("def on_exit(server):\n    pass\ndef _private(): ...\n", write)
    assert list(config.functions) == ["on_exit"]
    assert config.source is None  # no worker has to read it
    config = read("def post_fork(server, worker): ...\n", write)
    assert config.source is not None
    assert load(file=config).config == config.source


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("workers = 'many'", "{}:1: workers = 'many': not a whole number"),
        ("\nworkers = True", "{}:2: workers = True: must be a number"),
        ("workers = 2.0", "{}:1: workers = 2.0: must be a number"),
        ("bind = 8000", "{}:1: bind = 8000: must be a string or a list of strings"),
        ("bind = [':1', 2]", "{}:1: bind = [':1', 2]: must be a string or a list of strings"),
        ("bind = []", "{}:1: bind = []: must be a string or a list of strings"),
        ("bind = '8000'", "{}:1: bind = '8000': a port needs a colon; did you mean :8000?"),
        ("preload_app = 1", "{}:1: preload_app = 1: must be true or false"),
        ("keepalive = False", "{}:1: keepalive = False: must be a duration"),
        ("loglevel = open", "{}:1: loglevel = <built-in function open>: must be a string"),
        ("raw_env = {'A': 'B'}",
         "{}:1: raw_env = {'A': 'B'}: must be a string or a list of strings"),
        ("if True:\n  timeout = 'x'",
         "{}:2: timeout = 'x': not a duration; write 30, 30s, 250ms or 1h30m"),
        ("max_requests_jitter = 5",
         "{}:1: max_requests_jitter 5: has no effect without --max-requests"),
        ("\ndef on_exit(): ...", "{}:2: on_exit: a hook by this name must take 1 argument(s)"),
        ("on_exit = 3", "{}:1: on_exit = 3: a hook must be a function"),
        ("x = {}['a']", "-c {}: KeyError: 'a'"),
        ("x = (", "-c {}: SyntaxError: '(' was never closed"),
        ("import sys\nsys.exit(3)", "-c {}: SystemExit: 3"),
        ("\0", "-c {}: SyntaxError: source code string cannot contain null bytes"),
    ],
)  # fmt: skip
def test_bad_files(text: str, problem: str, write: Write) -> None:
    file = write(text)
    with pytest.raises(UsageError) as caught:
        load(file=file)
    expected = problem.replace("{}", file, 1)
    said = str(caught.value).replace("ValueError: source", "SyntaxError: source")  # 3.11
    assert said == expected


def test_a_failure_comes_with_the_files_own_traceback(write: Write) -> None:
    file = write("def inner():\n    return 1 / 0\ninner()\n")
    with pytest.raises(UsageError) as caught:
        load(file=file)
    details = caught.value.details
    assert details.startswith(f'Traceback (most recent call last):\n  File "{file}", line 3')
    assert details.endswith("ZeroDivisionError: division by zero")
    assert "balancer/settings" not in details


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "conf_package"
    folder.mkdir()
    (folder / "__init__.py").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    return folder


def test_a_module_is_found_from_the_working_directory(package: Path) -> None:
    (package / "conf.py").write_text("\nworkers = 3\n")
    settings = load(file="python:conf_package.conf")
    assert settings.workers == 3
    assert settings.where("workers") == "python:conf_package.conf:2: workers"


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("conf_package.none", "there is no module conf_package.none"),
        ("no_such_package.conf", "there is no module no_such_package"),
        ("conf_package/conf.py", "not the name of a module"),
        ("", "not the name of a module"),
        ("conf_package.bad", "ModuleNotFoundError: No module named 'no_such_import'"),
    ],
)
def test_modules_that_are_none(name: str, problem: str, package: Path) -> None:
    (package / "bad.py").write_text("import no_such_import\n")
    with pytest.raises(UsageError) as caught:
        load(file=f"python:{name}")
    assert str(caught.value) == f"-c python:{name}: {problem}"
    assert ("bad.py" in caught.value.details) == (name == "conf_package.bad")


def test_every_setting_of_gunicorns_is_known() -> None:
    """Or a file of a newer gunicorn would have settings that are silently ignored."""
    theirs = {setting.name for setting in importlib.import_module("gunicorn.config").KNOWN_SETTINGS}
    assert theirs <= LACKING | set(RENAMED) | set(SETTINGS) | set(HOOKS)


def test_the_table_of_names_is_consistent() -> None:
    # what is there under its own name is not lacking
    assert not LACKING & set(SETTINGS) - {"threads"}
    assert not set(RENAMED) & set(SETTINGS)
