"""The servers that are compared: each is a command line, a way to learn its port, and its roles.

All answer `GET /` with `Hello from worker ID (pid PID)\\n` on 127.0.0.1 from the same number of
workers, keep connections alive unless told otherwise, and write no access log.
"""

from __future__ import annotations

from benchmarks.peers.balancer import Balancer
from benchmarks.peers.base import MissingPeerError, Peer, RunningPeer
from benchmarks.peers.nginx import Nginx
from benchmarks.peers.node import Node

__all__ = ["Balancer", "MissingPeerError", "Nginx", "Node", "Peer", "RunningPeer"]
