"""Imports run downward only, and ``core`` stays pure."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import balancer

PACKAGE = Path(__file__).parent.parent / "balancer"

# From the top to the bottom.  Members of one row are siblings and never import each other.
LAYERS: list[set[str]] = [
    {"__main__"},
    {"cli", "cluster"},
    {"master", "worker"},
    {"forkserver", "apps"},
    {"upstream"},
    {"http1"},
    {"net"},
    {"core"},
    {"settings", "log"},
    {"hooks"},
    {"errors"},
    {"__init__"},
]
RANK = {name: rank for rank, row in enumerate(LAYERS) for name in row}
# time, randomness and I/O are passed into the core
IMPURE = {
    "asyncio", "fcntl", "logging", "mmap", "multiprocessing", "os", "pathlib", "random", "resource",
    "select", "selectors", "signal", "socket", "ssl", "subprocess", "sys", "threading", "time",
    "trio",
}  # fmt: skip


def imports(path: Path) -> set[str]:
    """Every module that a file imports, as a dotted name, also below ``if`` and in functions."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            assert node.module is not None
            found.add(node.module)
            if node.module == "balancer":
                found.update(f"balancer.{alias.name}" for alias in node.names)
                if any(alias.name == "__version__" for alias in node.names):
                    found.discard("balancer.__version__")
                    found.add("balancer.__init__")
    return found


def room(path: Path) -> str:
    """The top-level module or package of ``balancer`` that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_run_downward(path: Path) -> None:
    here = room(path)
    if path == PACKAGE / "__init__.py":
        return  # it names what it imports lazily: see below
    assert here in RANK, f"{here} has no layer: add it to LAYERS"
    for name in imports(path):
        parts = name.split(".")
        if parts[0] != "balancer" or len(parts) == 1:
            continue
        there = parts[1]
        assert there == here or RANK[there] > RANK[here], f"{here} may not import {name}"


def test_the_package_imports_nothing_by_itself() -> None:
    code = "import sys, balancer; print(*(each for each in sys.modules if '.' in each))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not [name for name in done.stdout.split() if name.startswith(("balancer.", "trio."))]


def test_every_public_name_is_there() -> None:
    for name in balancer._LAZY:
        assert getattr(balancer, name).__name__ == name or name == "Subscription"
        assert name in dir(balancer)
    with pytest.raises(AttributeError):
        _ = balancer.nothing


@pytest.mark.parametrize("path", sorted((PACKAGE / "core").rglob("*.py")), ids=lambda p: p.name)
def test_the_core_is_pure(path: Path) -> None:
    assert not {name.split(".")[0] for name in imports(path)} & IMPURE
