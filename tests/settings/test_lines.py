"""The line finder, held against ``tomllib``: the same paths, and the lines that were written."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.settings.lines import find_lines, show_path

if TYPE_CHECKING:
    from collections.abc import Iterator

    from balancer.settings.lines import Path


def paths(value: object, path: Path = ()) -> Iterator[Path]:
    """Every path of a document, the empty one left out."""
    if path:
        yield path
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from paths(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from paths(inner, (*path, index))


def lines(text: str) -> dict[str, int]:
    found = find_lines(text)
    assert set(found) == set(paths(tomllib.loads(text)))
    return {show_path(path): line for path, line in found.items()}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", {}),
        ("# nothing\n\n", {}),
        ("a = 1\n\n b=2 # a = 3\nc = 3", {"a": 1, "b": 3, "c": 4}),
        ("a = '#'\nb = \"\\\"# \\\\\"\nc = 1", {"a": 1, "b": 2, "c": 3}),
        ('a = """\nb = 1\n"""\nc = 1', {"a": 1, "c": 4}),
        ('a = """"\nb = 1\\"""\n"""""\nc = 1', {"a": 1, "c": 4}),
        ("a = '''\n'b = '' \\'''\nc = ''''''''\nd = 1", {"a": 1, "c": 3, "d": 4}),
        ("a = 1979-05-27 07:32:00 # x\nb = inf\n", {"a": 1, "b": 2}),
        ("a = []\nb = [ ]\nc = [\n# x\n]\nd = {}\n", {"a": 1, "b": 2, "c": 3, "d": 6}),
        (
            'a = [\n  "x", # y\n\n  [1,\n2],\n]\n',
            {"a": 1, "a[0]": 2, "a[1]": 4, "a[1][0]": 4, "a[1][1]": 5},
        ),
        (
            "a = [1, {b = [\n2, {c = 3}], d.e = ']'},\n]",
            {"a": 1, "a[0]": 1, "a[1]": 1, "a[1].b": 1, "a[1].b[0]": 2, "a[1].b[1]": 2,
             "a[1].b[1].c": 2, "a[1].d": 2, "a[1].d.e": 2},
        ),
        (
            "[a]\nx = 1\n[ b . 'c d' ]\n\ny.z = 1\n[b]\nw = 1",
            {"a": 1, "a.x": 2, "b": 3, "b.c d": 3, "b.c d.y": 5, "b.c d.y.z": 5, "b.w": 7},
        ),
        (
            "[[a]]\nx = 1\n[[a]]\n[a.b]\nx = 1\n[[a.c]]\n[[a.c]]\n[a.c.d]\n\n[[a]]",
            {"a": 1, "a[0]": 1, "a[0].x": 2, "a[1]": 3, "a[1].b": 4, "a[1].b.x": 5, "a[1].c": 6,
             "a[1].c[0]": 6, "a[1].c[1]": 7, "a[1].c[1].d": 8, "a[2]": 10},
        ),
        ('"a\\u0062"."c" = 1\n', {"ab": 1, "ab.c": 1}),
    ],
)  # fmt: skip
def test_lines(text: str, wanted: dict[str, int]) -> None:
    assert lines(text) == wanted


# -- documents that are made, whose lines are known ------------------------------------------------

bare = st.from_regex(r"[A-Za-z0-9_-]{1,3}", fullmatch=True)
quoted = st.sampled_from(['"a.b"', "'#'", '"\\""', "'='", '""', '"[a]"'])
keys = bare | quoted
scalars = st.sampled_from([
    "1", "-0.5e3", "true", "nan", "0x1F", "1979-05-27T07:32:00Z", "1979-05-27 07:32:00",
    '"a"', "'b'", '"#,]}"', "'#,]}='", '""', '"\\"\\\\"', '"""\nx = 1\n"""', "'''\n[y]\n'''",
    '"""a""b"c\\""""', "''''x'''''", '""""""', "''''''",
])  # fmt: skip
blanks = st.sampled_from(["", " ", "\t", "\n", " # x ]\n", "\n\n"])
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(st.tuples(blanks, inner, blanks), max_size=3).map(
            lambda items: f"[{','.join(f'{a}{b}{c}' for a, b, c in items)}]"
        )
        | st.dictionaries(bare, inner.filter(lambda text: "\n" not in text), max_size=3).map(
            lambda table: f"{{{', '.join(f'{key} = {value}' for key, value in table.items())}}}"
        )
    ),
    max_leaves=6,
)
pairs = st.tuples(st.lists(keys, min_size=1, max_size=2).map(".".join), values).map(" = ".join)
headers = st.lists(keys, min_size=1, max_size=3).map(".".join)
documents = st.lists(
    pairs | headers.map("[{}]".format) | headers.map("[[{}]]".format) | blanks, max_size=8
).map("\n".join)


def is_toml(text: str) -> bool:
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError:  # a key that is there twice, mostly
        return False
    return True


@given(documents.filter(is_toml))
def test_it_finds_what_tomllib_finds(text: str) -> None:
    found = find_lines(text)
    assert set(found) == set(paths(tomllib.loads(text)))
    assert all(1 <= line <= text.count("\n") + 1 for line in found.values())


@given(st.lists(st.tuples(st.lists(blanks, max_size=2), values), max_size=6))
def test_the_lines_are_those_of_the_keys(made: list[tuple[list[str], str]]) -> None:
    text, wanted = "", {}
    for index, (before, value) in enumerate(made):
        text += "".join(before)
        text += "" if text.endswith("\n") or not text else "\n"
        wanted[f"key{index}"] = text.count("\n") + 1
        text += f"key{index} = {value}\n"
    found = find_lines(text)
    assert {path[0]: line for path, line in found.items() if len(path) == 1} == wanted
