"""The reference page says what the table of settings says."""

from __future__ import annotations

from balancer.settings.reference import COLUMNS, COMMAND, PAGE, make_page
from balancer.settings.table import SETTINGS


def test_it_is_up_to_date() -> None:
    assert PAGE.read_text() == make_page(), f"run: {COMMAND}"


def test_every_setting_has_a_row_with_every_flag_and_variable() -> None:
    rows = [line for line in make_page().splitlines() if line.startswith("|")]
    for setting in SETTINGS.values():
        (row,) = [line for line in rows if f" `{setting.name}` " in line]
        words = [alias.flag for alias in setting.spellings] + list(setting.variables)
        assert all(word in row for word in words)
        assert row.replace("\\|", "").count("|") == len(COLUMNS) + 1
