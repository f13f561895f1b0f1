"""What the settings say of proxying; times in seconds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from balancer.settings.policy import PolicyChoice

if TYPE_CHECKING:
    from balancer.apps.proxy.forward import ForwardConfig

__all__ = ["ProxyConfig"]


@final
@dataclass(frozen=True, slots=True)
class ProxyConfig:
    """One proxy's settings."""

    forward: ForwardConfig
    retries: int = 2
    """Attempts beyond the first."""
    response_timeout: float = 60.0
    """From the end of a request to its response's head: then 504."""
    tunnel_timeout: float = 3600.0
    """Without a byte in either direction."""
    policy: PolicyChoice = PolicyChoice("round-robin")  # noqa: RUF009 - it is frozen
    """What a hash goes by, if it is one."""
    sticky: bytes = b""
    """The cookie that brings a client back to the endpoint that it had; empty: there is none."""
