"""Together they run at once; alone nobody does, nor does anybody pass who came later."""

from __future__ import annotations

import os
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.faults.lab import until
from tests.support.turns import Turns


def _waits(file: Path) -> bool:
    """Whether somebody waits for the lock on ``file``; the arrow is the kernel's."""
    inode = f":{file.stat().st_ino} "
    return any(
        "->" in line and inode in line for line in Path("/proc/locks").read_text().splitlines()
    )


def test_who_is_alone_waits_for_all_and_lets_nobody_pass(tmp_path: Path) -> None:
    seen: list[str] = []

    def come(name: str, *, alone: bool = False) -> threading.Thread:
        def act() -> None:
            with Turns(tmp_path).take(alone=alone):
                seen.append(name)
                seen.append(f"{name} goes")

        thread = threading.Thread(target=act)
        thread.start()
        return thread

    with ExitStack() as stack:
        stack.enter_context(Turns(tmp_path).take(alone=False))
        come("together").join(10)
        assert seen == ["together", "together goes"]
        first = come("alone", alone=True)
        until(lambda: _waits(tmp_path / "room"))
        second = come("late")
        until(lambda: _waits(tmp_path / "gate"))
        assert len(seen) == 2
    first.join(10)
    second.join(10)
    assert seen[2:] == ["alone", "alone goes", "late", "late goes"]


def test_a_turn_that_fails_ends(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for alone in (True, False, True):
        with pytest.raises(KeyError), Turns(tmp_path).take(alone=alone):
            raise KeyError
    assert len(os.listdir("/proc/self/fd")) == before
