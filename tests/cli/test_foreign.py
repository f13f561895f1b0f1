"""Every flag of gunicorn and uvicorn works here, is an alias, or is refused with a sentence."""

from __future__ import annotations

import re
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from balancer.cli import main
from balancer.cli.foreign import FOREIGN, without_words
from balancer.cli.serve import serve
from balancer.settings.table import SETTINGS

OURS = {alias.flag for setting in SETTINGS.values() for alias in setting.spellings}
OF_SERVE = {
    flag for param in serve.params if isinstance(param, click.Option) for flag in param.opts
}
HELP = {"-h", "--help"}


def flags(program: str) -> list[str]:
    """What ``--help`` names, in its order: a line ``  -b ADDRESS, --bind ADDRESS   what it is``."""
    shown = subprocess.run(
        [sys.executable, "-m", program, "--help"],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
        env={"COLUMNS": "100", "NO_COLOR": "1"},
    ).stdout
    usages = re.findall(r"^  (-.+?)(?:  |$)", shown, re.MULTILINE)
    return [
        flag
        for usage in usages
        for flag in re.findall(r"(?<!\S)--?[A-Za-z][\w-]*", re.sub(r"\[.*?\]", "", usage))
    ]


@pytest.fixture(scope="module")
def theirs() -> dict[str, list[str]]:
    return {program: flags(program) for program in ("gunicorn", "uvicorn")}


def test_every_flag_is_ours_or_explained(theirs: dict[str, list[str]]) -> None:
    assert len(theirs["gunicorn"]) > 100
    assert len(theirs["uvicorn"]) > 50
    for program, names in theirs.items():
        unknown = set(names) - OURS - OF_SERVE - HELP - set(FOREIGN)
        assert not unknown, f"{program} has {unknown}: make it an alias, or a row of cli/foreign.py"


def test_every_row_is_somebodys_and_not_ours(theirs: dict[str, list[str]]) -> None:
    assert not set(FOREIGN) & (OURS | OF_SERVE | HELP)
    assert set(FOREIGN) <= {flag for names in theirs.values() for flag in names}


@pytest.mark.parametrize("flag", FOREIGN)
@pytest.mark.parametrize("command", ["serve", "check"])
def test_a_refusal_is_one_sentence_that_names_the_flag(command: str, flag: str) -> None:
    result = CliRunner().invoke(main, [command, flag, "x"])
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == f"balancer: error: {flag}: no such option; {FOREIGN[flag]}\n"
    assert FOREIGN[flag][0].islower() or FOREIGN[flag][:2].isupper() or FOREIGN[flag][0] == "-"


def test_what_a_refusal_names_is_there() -> None:
    named = {flag for text in FOREIGN.values() for flag in re.findall(r"--[a-z][a-z-]+", text)}
    elsewhere = {"--version", "--json"}
    assert named - elsewhere <= OURS


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        (["--ws-per-message-deflate", "false"], ["--no-ws-per-message-deflate"]),
        (["--ws-per-message-deflate=False", "x"], ["--no-ws-per-message-deflate", "x"]),
        (["--ws-per-message-deflate", "true"], ["--ws-per-message-deflate"]),
        (["--ws-per-message-deflate=1"], ["--ws-per-message-deflate"]),
        (["--ws-per-message-deflate", "main:app"], ["--ws-per-message-deflate", "main:app"]),
        (["--ws-per-message-deflate"], ["--ws-per-message-deflate"]),
        (["--ws-per-message-deflate=maybe"], ["--ws-per-message-deflate=maybe"]),
        (["main:app", "--preload", "true"], ["main:app", "--preload", "true"]),
    ],
)
def test_a_switch_with_a_word(said: list[str], meant: list[str]) -> None:
    assert without_words(said) == meant
