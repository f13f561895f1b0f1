"""The machine a result was measured on: without it a number means nothing."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path

_VERSIONS = {
    "node": ["node", "--version"],
    "nginx": ["nginx", "-v"],
    "haproxy": ["haproxy", "-v"],
    "ab": ["ab", "-V"],
    "wrk": ["wrk", "-v"],
}
_PACKAGES = (
    "trio",
    "uvicorn",
    "httptools",
    "uvloop",
    "h11",
    "granian",
    "gunicorn",
    "hypercorn",
    "uvicorn-worker",
)


def describe() -> dict[str, object]:
    """CPU, cores this process may use, memory, kernel; versions of the tools and servers found."""
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_mb": _memory_mb(),
        "kernel": platform.release(),
        "python": sys.version.split()[0],
        **{name: _first_line(argv) for name, argv in _VERSIONS.items()},
        **{name: _version(name) for name in _PACKAGES},
    }


def headline(machine: dict[str, object]) -> str:
    return (
        f"{machine['cpu']}, {machine['cores']} cores shared with the load generator, "
        f"Linux {machine['kernel']}, Python {machine['python']}"
    )


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _memory_mb() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20


def _first_line(argv: list[str]) -> str:
    # wrk prints its version and exits with 1, nginx prints to stderr: only the text counts.
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return "not found"
    lines = (done.stdout + done.stderr).strip().splitlines()
    return lines[0].strip() if lines else "unknown"


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"
