"""What can go wrong on a connection, by whose fault it is.

* the peer's: ``RequestError`` (it said something we refuse, and can be told) and ``ClientGone``
  (it left, and can't);
* the app's: ``MisuseError``, raised in the app before a byte that would corrupt the wire is sent.
"""

from __future__ import annotations

from typing import final

__all__ = ["ClientGone", "MisuseError", "RequestError"]


@final
class RequestError(Exception):
    """The request can't be served; the answer is ``status`` and the connection is closed.

    ``reason`` is one sentence for the client's developer.  It never quotes the request.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"{status}: {reason}")
        self.status = status
        self.reason = reason


@final
class ClientGone(ConnectionError):  # noqa: N818 - nothing is wrong: clients may leave
    """The client closed or reset the connection, or stopped reading; handlers let it pass.

    An OSError, because that is what ASGI apps know (ASGI HTTP 2.4, "Disconnected Client").
    """


@final
class MisuseError(RuntimeError):
    """The app broke the rules of HTTP or of the exchange: a bug in the app."""
