"""Values that have a type (TOML's, or a call's) as the texts that parsers get, and for messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from balancer.settings.kinds import Kind

__all__ = ["show_toml", "text_of"]


def text_of(value: object, kind: Kind) -> str | None:
    """The text that a kind's parser gets; None when the type is wrong."""
    # bool is an int to isinstance()
    if type(value) not in kind.toml:
        return None
    if isinstance(value, float):
        # never 1e-05
        return f"{value:.9f}".rstrip("0").rstrip(".")
    return show_toml(value) if isinstance(value, bool) else str(value)


def show_toml(value: object) -> str:
    """A value roughly as TOML writes it, on one line."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
    if isinstance(value, list):
        return f"[{', '.join(show_toml(item) for item in value)}]"
    return "{…}" if isinstance(value, dict) else str(value)
