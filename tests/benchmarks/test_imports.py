"""The harness stands alone: it must be able to measure a checkout whose code does not import."""

from __future__ import annotations

import ast
from pathlib import Path

import benchmarks

FOLDER = Path(benchmarks.__file__).parent
ABOUT_OURS = {FOLDER / "harness" / "policies.py", *(FOLDER / "simulate").glob("*.py")}
"""What is about this checkout's own policies reads their table, and the simulation runs them."""


def _imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path.name}: relative import"
            names.add(node.module or "")
    return names


def test_benchmarks_import_neither_balancer_nor_the_tests() -> None:
    modules = sorted(FOLDER.rglob("*.py"))
    assert len(modules) > 10
    for module in set(modules) - ABOUT_OURS:
        roots = {name.partition(".")[0] for name in _imported(module)}
        assert not roots & {"balancer", "tests"}, module
