"""What a server is told about WebSockets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

__all__ = ["WebSocketConfig"]


@final
@dataclass(frozen=True, slots=True)
class WebSocketConfig:
    """Sizes in bytes, times in seconds; names and defaults are uvicorn's."""

    max_size: int = 16 * 1024 * 1024
    """A larger message, decompressed, closes the connection with 1009."""
    max_queue: int = 32
    """So many messages wait for the app, of ``max_size`` together; then we stop reading."""
    ping_interval: float = 20.0
    """A ping so often; 0: never."""
    ping_timeout: float = 20.0
    """A client of which nothing is heard for so long after a ping is gone; 0: that is no matter."""
    per_message_deflate: bool = True
    """Compress, where the client offers it."""
    send_timeout: float = 30.0
    """A client that takes no byte for this long is aborted."""
    close_timeout: float = 10.0
    """How long a client may take to answer a Close."""
