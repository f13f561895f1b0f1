"""``-c``: a TOML file or a Python file, each of which is read elsewhere."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from balancer.errors import UsageError
from balancer.settings.source import MODULE, ConfigSource

if TYPE_CHECKING:
    from balancer.settings.source import Config

__all__ = ["read_file"]


def read_file(file: str) -> Config:
    """What a TOML file, a Python file or ``python:module`` says, its settings unparsed.

    Raises:
        UsageError: it can't be read, or isn't what its name says; also as ``read_python``.  What is
            wrong with single keys is in the result.
    """
    if file.endswith(".py") or file.startswith(MODULE):
        from balancer.settings.python import read_python

        return read_python(ConfigSource(file, os.getcwd()))
    if not file.endswith(".toml"):
        raise UsageError(f"-c {file}: only .toml and .py files and python:MODULE can be read")
    try:
        text = Path(file).read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"-c {file}: {error.strerror}") from None
    except ValueError:
        # a NUL in the path, or not UTF-8
        raise UsageError(f"-c {file}: not a text file") from None

    from balancer.settings.toml import read_toml

    return read_toml(file, text)
