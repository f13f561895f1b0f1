"""``-c FILE.toml``: types, mistyped keys, and files that are none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from balancer.errors import UsageError
from balancer.settings import TcpBind
from balancer.settings.load import load

if TYPE_CHECKING:
    from pathlib import Path


NO_DURATION = "not a duration; write 30, 30s, 250ms or 1h30m"


def test_toml_numbers_and_lists(tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    file.write_text(
        'workers = 3\nrecall = 0.05\nheader_timeout = 5\nbody_timeout = 0.25\nbind = ":1"\n'
        "limit_request_head = 65536\npreload = true\nmax_requests = 0x10\ndrain_delay = 1e-5\n"
    )
    settings = load(file=str(file))
    assert (settings.workers, settings.recall, settings.header_timeout) == (3, 0.05, 5.0)
    assert (settings.body_timeout, settings.limit_request_head) == (0.25, 65536)
    assert (settings.preload, settings.max_requests) == (True, 16)
    assert settings.drain_delay == 1e-5
    assert settings.bind == (TcpBind("0.0.0.0", 1),)


@pytest.mark.parametrize(
    ("toml", "problem"),
    [
        ("worker = 3", ":1: worker: unknown key; did you mean workers?"),
        ("\n\nmax-requests = 3", ":3: max-requests: unknown key; did you mean max_requests?"),
        ("Workers = 3", ":1: Workers: unknown key; did you mean workers?"),
        ("zzz = 3", ":1: zzz: unknown key"),
        ("'zzz' = 3", ":1: zzz: unknown key"),
        ("origins = 3", ":1: origins: unknown key"),
        ("[table]\nx = 1", ":1: table: unknown key"),
        ("workers = true", ":1: workers = true: must be a number"),
        ("workers = 1.5", ":1: workers = 1.5: must be a number"),
        ("workers = 0", ":1: workers = 0: must be at least 1"),
        ('workers = "many"', ':1: workers = "many": not a whole number'),
        ("workers = [3]", ":1: workers = [3]: must be a number"),
        ("[workers]\nx = 1", ":1: workers = {…}: must be a number"),
        ("policy = 1", ":1: policy = 1: must be a string"),
        ('preload = "true"', ':1: preload = "true": must be true or false'),
        ("preload = 1", ":1: preload = 1: must be true or false"),
        ("bind = 8000", ":1: bind = 8000: must be a string or a list of strings"),
        ("bind = []", ":1: bind = []: must be a string or a list of strings"),
        ('bind = [":1", 2]', ':1: bind = [":1", 2]: must be a string or a list of strings'),
        ('bind = [":1", "2"]', ':1: bind[1] = "2": a port needs a colon; did you mean :2?'),
        ("header_timeout = -1", f":1: header_timeout = -1: {NO_DURATION}"),
        ("header_timeout = inf", f":1: header_timeout = inf: {NO_DURATION}"),
        ("header_timeout = 1979-05-27", ":1: header_timeout = 1979-05-27: must be a duration"),
        ("limit_request_line = true", ":1: limit_request_line = true: must be a size"),
        ("pid = 8000", ":1: pid = 8000: that is the pid file; did you mean -b :8000?"),
        ('name = "a\\nb"', ':1: name = "a\\nb": a name has 1 to 64 printable characters'),
    ],
)
def test_bad_files(toml: str, problem: str, tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    file.write_text(toml)
    with pytest.raises(UsageError) as caught:
        load(file=str(file))
    assert str(caught.value) == f"{file}{problem}"


def test_a_contradiction_in_a_file_names_it(tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    file.write_text('control = "x"\nno_control = true\n')
    with pytest.raises(
        UsageError, match=rf"^{file}:2: no_control: contradicts {file}:1: control x"
    ):
        load(file=str(file))


def test_syntax_errors_name_the_line(tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    file.write_text("workers = 3\nbind = \n")
    with pytest.raises(UsageError, match=rf"^{file}:2: not TOML: .* \(column 8\)$"):
        load(file=str(file))


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("x.py", "No such file or directory"),
        ("x.yaml", "only .toml and .py files and python:MODULE can be read"),
        ("none.toml", "No such file or directory"),
        ("folder.toml", "Is a directory"),
        ("binary.toml", "not a text file"),
        ("nul\0.toml", "not a text file"),
        ("deep.toml", "not TOML: nested too deeply"),
    ],
)
def test_files_that_are_none(name: str, problem: str, tmp_path: Path) -> None:
    (tmp_path / "folder.toml").mkdir()
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    (tmp_path / "deep.toml").write_text(f"bind = {5000 * '['}{5000 * ']'}")
    with pytest.raises(UsageError) as caught:
        load(file=str(tmp_path / name))
    assert str(caught.value) == f"-c {tmp_path / name}: {problem}"
