"""``--reload``: which files matter, and what happens when they change."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING

import pytest
import trio

from balancer.errors import RunError, UsageError
from balancer.master import reloader
from balancer.master.reloader import FileFilter, check_reload, watch_files
from balancer.settings import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("main.py", True),
        ("deep/er/views.py", True),
        ("main.pyc", False),
        ("main.html", False),
        (".hidden.py", False),
        ("~main.py", False),
        ("main.py~", False),
        (".git/hook.py", False),
        (".venv/lib/x.py", False),
        ("__pycache__/main.py", False),
    ],
)
def test_by_default_it_is_python(path: str, wanted: bool) -> None:
    # the folder that is watched may have any name
    assert (f"/home/.work/{path}" in FileFilter(["/home/.work"], (), ())) == wanted


@pytest.mark.parametrize(
    ("include", "exclude", "path", "wanted"),
    [
        (("*.html",), (), "x/a.html", True),
        (("*.html",), (), "a.py", True),
        (("*.html",), ("*.py",), "a.py", False),
        (("*.html",), ("*.py",), "a.html", True),
        ((".env",), (), ".env", False),
        ((".env", ".*"), (), ".env", True),
        ((), ("test_*",), "test_a.py", False),
        ((), ("tests",), "tests/deep/a.py", False),
        ((), ("tests",), "src/a.py", True),
        (("conf/*.ini",), (), "conf/a.ini", True),
        (("conf/*.ini",), (), "other/a.ini", False),
    ],
)
def test_patterns(
    include: tuple[str, ...], exclude: tuple[str, ...], path: str, wanted: bool
) -> None:
    assert (f"/site/{path}" in FileFilter(["/site"], include, exclude)) == wanted


def test_without_watchfiles_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "watchfiles", None)
    check_reload(Settings())
    monkeypatch.setattr(reloader, "find_spec", lambda _: None)
    with pytest.raises(UsageError, match=r"^--reload: needs watchfiles; run: pip install 'bal"):
        check_reload(Settings(reload=True))


def test_folders_have_to_be_there(tmp_path: Path) -> None:
    check_reload(Settings(reload=True, reload_dir=(str(tmp_path),)))
    with pytest.raises(UsageError, match=r"^--reload-dir .*/none: there is no such folder$"):
        check_reload(Settings(reload=True, reload_dir=(str(tmp_path / "none"),)))
    with pytest.raises(UsageError, match=r"^--app-dir .*/none: there is no such folder$"):
        check_reload(Settings(reload=True, app_dir=str(tmp_path / "none")))


async def test_changes_are_collected_and_a_refusal_is_no_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "balancer")
    calls, called = 0, trio.Event()

    async def reload() -> None:
        nonlocal calls
        calls += 1
        called.set()
        if calls == 1:
            raise RunError("reload: the server is stopping")

    settings = Settings(reload=True, reload_dir=(str(tmp_path),))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch_files, settings, reload)
        for round_ in range(1, 3):
            with trio.fail_after(10):
                while not called.is_set():  # nothing tells when the watch has begun
                    for name in "abcde":
                        (tmp_path / f"{name}.py").write_text(f"# {round_} {trio.current_time()}")
                    with trio.move_on_after(1):
                        await called.wait()
            assert calls == round_
            called = trio.Event()
        nursery.cancel_scope.cancel()
    assert "a.py, " in caplog.text
    assert " and 2 more changed: reloading" in caplog.text


async def test_what_cant_be_watched_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def awatch(*_paths: str, **_options: object) -> AsyncIterator[None]:
        for _ in _paths[1:]:
            yield
        raise OSError("OS file watch limit reached.")

    async def reload() -> None:
        raise AssertionError

    monkeypatch.setattr("watchfiles.awatch", awatch)
    await watch_files(Settings(reload=True), reload)
    assert "--reload: files can't be watched, reload by hand: OS file watch limit" in caplog.text
