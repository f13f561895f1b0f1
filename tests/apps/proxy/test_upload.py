"""What of a request's body is sent with its head."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from balancer.apps.proxy.upload import REPLAYABLE, Upload

if TYPE_CHECKING:
    from balancer.http1.exchange import Exchange


@pytest.mark.parametrize("size", [1, REPLAYABLE, REPLAYABLE + 1])
def test_all_that_has_come_is_sent_whether_it_is_kept_or_not(size: int) -> None:
    exchange = SimpleNamespace(body_read=False, head=SimpleNamespace())
    exchange.head.chunked, exchange.head.content_length = False, size
    exchange.read_nowait = lambda: b"x" * size
    upload = Upload(cast("Exchange", exchange))
    assert upload.begin() == b"x" * size
    assert upload.replayable is (size <= REPLAYABLE)
