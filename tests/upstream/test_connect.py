"""Connections to endpoints, and those that are none."""

from __future__ import annotations

import socket

import pytest

from balancer.core.retry import Failure
from balancer.upstream.connect import connect
from balancer.upstream.errors import UpstreamError


async def test_a_connection_to_itself_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = taken.getsockname()
    made = socket.socket

    def unlucky(family: int, kind: int) -> socket.socket:
        sock = made(family, kind)
        sock.bind(address)  # as the kernel may do, once in 28,000 connections
        return sock

    monkeypatch.setattr(socket, "socket", unlucky)
    with pytest.raises(UpstreamError) as caught:
        await connect((socket.AF_INET, address), 3.0)
    assert caught.value.failure is Failure.CONNECT
    assert "refused" in caught.value.reason
