"""What differs between two readings of the configuration, and what becomes of it."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st

from balancer.settings import Settings, TcpBind
from balancer.settings.changes import compare, keep
from balancer.settings.files import read_file
from balancer.settings.load import load
from balancer.settings.origin import Origin, Rank
from balancer.settings.table import SETTINGS, TAKEN
from balancer.settings.taken import Taken

if TYPE_CHECKING:
    from pathlib import Path

# another value than the default, of every kind that there is
OTHER: dict[str, Any] = {
    "bind": (TcpBind("::1", 81), TcpBind("127.0.0.1", 0)),
    "backlog": 7,
    "workers": 77,
    "policy": "first",
    "recall": None,
    "timeout": 12.5,
    "keep_alive": 5.0,
    "limit_request_body": 1 << 20,
    "preload": True,
    "access_logfile": "-",
    "name": "site",
    "pid": "/run/site.pid",
    "worker_weights": (3, 1),
    "log_level": "debug",
    "root_path": "/x",
}


@given(st.sets(st.sampled_from(sorted(OTHER))), st.sets(st.sampled_from(sorted(OTHER))))
def test_exactly_what_differs_is_a_change(before: set[str], after: set[str]) -> None:
    old = Settings(**{name: OTHER[name] for name in before})
    new = Settings(**{name: OTHER[name] for name in after})
    changes = compare(old, new)
    assert {each.name for each in changes} == before ^ after
    assert [each.name for each in changes] == [n for n in SETTINGS if n in before ^ after]
    for change in changes:
        assert change.taken is SETTINGS[change.name].taken
        assert (change.old, change.new) == (getattr(old, change.name), getattr(new, change.name))
        assert str(change).startswith(f"{change.name} (")


@given(st.sets(st.sampled_from(sorted(OTHER))), st.sets(st.sampled_from(sorted(OTHER))))
def test_what_is_for_the_next_start_stays_and_all_else_is_new(
    before: set[str], after: set[str]
) -> None:
    old = Settings(**{name: OTHER[name] for name in before})
    new = Settings(**{name: OTHER[name] for name in after})
    changes = compare(old, new)
    kept = keep(old, new, changes)
    for name, setting in SETTINGS.items():
        source = old if setting.taken is Taken.AT_START else new
        assert getattr(kept, name) == getattr(source, name)
    # so the next reload says it again, and nothing else
    assert compare(kept, new) == [each for each in changes if each.taken is Taken.AT_START]


def test_a_place_goes_with_its_value() -> None:
    place = {name: Origin(Rank.FILE, name, "site.toml", 3) for name in ("policy", "workers")}
    old = Settings(policy="first", workers=1)
    new = dataclasses.replace(old, policy="p2c", workers=2, origins=place)
    changes = compare(old, new)
    kept = keep(old, new, changes)
    assert kept.where("policy") == "--policy"
    assert kept.where("workers") == "site.toml:3: workers"
    [warning] = [each.warning for each in changes if each.taken is Taken.AT_START]
    assert warning == (
        "site.toml:3: policy p2c: can't be changed while the server runs and stays first; restart "
        "it, or balancer upgrade"
    )


def test_values_are_shown_as_they_are_written() -> None:
    shown = {each.name: str(each) for each in compare(Settings(workers=1), Settings(**OTHER))}
    assert shown["bind"] == "bind (127.0.0.1:8000 → [::1]:81 127.0.0.1:0)"
    assert shown["workers"] == "workers (1 → 77)"
    assert shown["recall"] == "recall (100ms → off)"
    assert shown["limit_request_body"] == "limit_request_body (0 → 1MiB)"
    assert shown["access_logfile"] == "access_logfile (off → -)"
    assert shown["pid"] == "pid (none → /run/site.pid)"
    assert shown["preload"] == "preload (false → true)"
    assert shown["worker_weights"] == "worker_weights (none → 3 1)"


def test_the_table_names_settings_and_each_once() -> None:
    names = [name for group in TAKEN.values() for name in group]
    assert len(names) == len(set(names))
    assert set(names) <= set(SETTINGS)


def test_the_same_file_read_twice_is_no_change(tmp_path: Path) -> None:
    file = tmp_path / "site.toml"
    file.write_text('workers = 3\nbind = ["127.0.0.1:0", "unix:/tmp/x"]\n')
    first, second = (load(file=read_file(str(file))) for _ in range(2))
    assert compare(first, second) == []
