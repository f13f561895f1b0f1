"""The folder and the environment that the configuration is read in, and the way back."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from balancer.errors import UsageError
from balancer.master.surroundings import Surroundings
from balancer.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from balancer.hooks import Hooks


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("THEIRS", "1")
    monkeypatch.delenv("OURS", raising=False)
    before = dict(os.environ)
    yield tmp_path
    os.environ.clear()
    os.environ.update(before)


def test_the_file_is_read_where_it_was_read_first(home: Path) -> None:
    seen = []

    def read() -> tuple[Settings, Hooks | None]:
        seen.append((os.getcwd(), os.environ.get("OURS"), os.environ["THEIRS"]))
        return Settings(), None

    surroundings = Surroundings(read)
    settings = Settings(chdir="sub", raw_env=("OURS=x", "THEIRS=2", "OURS=y"))
    surroundings.settle_in(settings)
    assert (os.getcwd(), os.environ["OURS"], os.environ["THEIRS"]) == (str(home / "sub"), "y", "2")
    surroundings.read()
    assert seen == [(str(home), None, "1")]
    surroundings.settle_in(Settings(raw_env=("OURS=z",)))
    assert (os.getcwd(), os.environ["OURS"], os.environ["THEIRS"]) == (str(home), "z", "1")
    surroundings.settle_in(Settings())
    assert "OURS" not in os.environ


def test_whatever_happens_there_is_a_way_back(home: Path) -> None:
    def read() -> tuple[Settings, Hooks | None]:
        os.environ["NEW"] = "by the file"
        del os.environ["THEIRS"]
        raise UsageError("no")

    surroundings = Surroundings(read)
    surroundings.settle_in(Settings(chdir="sub", raw_env=("OURS=x",)))
    before, folder = dict(os.environ), os.getcwd()
    note = surroundings.note()
    with pytest.raises(UsageError, match="no"):
        surroundings.read()
    surroundings.restore(note)
    assert dict(os.environ) == before
    assert os.getcwd() == folder
    surroundings.settle_in(Settings())  # what was ours is still known
    assert "OURS" not in os.environ
    assert os.getcwd() == str(home)


def test_a_folder_that_is_not_there() -> None:
    with pytest.raises(UsageError, match=r"^--chdir none: No such file or directory$"):
        Surroundings().settle_in(Settings(chdir="none"))
    with pytest.raises(UsageError, match=r"^--app-dir none: no such folder$"):
        Surroundings().settle_in(Settings(app_dir="none"))


def test_a_folder_that_has_gone_is_no_reason_to_fail(home: Path) -> None:
    (home / "gone").mkdir()
    os.chdir(home / "gone")
    surroundings = Surroundings(lambda: (Settings(), None))
    (home / "gone").rmdir()
    before = surroundings.note()
    with pytest.raises(UsageError, match="gone, where this began: No such file or directory"):
        surroundings.read()
    surroundings.restore(before)
    with pytest.raises(UsageError, match="the current folder has been deleted"):
        Surroundings()
    os.chdir(home / "sub")
    before = surroundings.note()
    (home / "sub").rmdir()
    surroundings.restore(before)
