"""One ASGI app under every server that people would run it with: hello, upload, download.

What an app server costs per request, per body that comes in and per body that goes out; each with
the CPU time of all the server's processes beside it, because the load generator has the same cores
and a server that is fast by burning both of them has only taken the client's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, final

from benchmarks import loads
from benchmarks.compare import Floor
from benchmarks.runner import Metric

if TYPE_CHECKING:
    from benchmarks.peers import RunningPeer
    from benchmarks.runner import Options, Sample

BODY = 2**20
"""Bytes of a POST."""

_MICRO = 1e6
_MILLI = 1e3
_MEGA = 1e-6
_HELLO = "hello, 64 kept connections"
_POST = "POST of 1 MiB, 16 kept connections"
_DOWNLOAD = "download of 10 MiB in messages of 64 KiB, 16 kept connections"

OURS = "balancer"
ENGINE = "balancer --engine uvicorn"
UVICORN = "uvicorn httptools+uvloop"
NODE = "node cluster"

# What balancer promises; the goal of the first is to be a fifth faster.
FLOORS = (
    Floor("hello_rate", OURS, UVICORN, 1.0, goal=1.2),
    Floor("hello_rate", OURS, "hypercorn trio", 10.0),
    Floor("hello_rate", ENGINE, UVICORN, 0.95),
    Floor("post_rate", OURS, UVICORN, 0.9),
    Floor("download_rate", OURS, UVICORN, 0.9),
)


@final
class Serve:
    name = "serve"
    metrics = (
        Metric("hello_rate", "hello/s", group=_HELLO),
        Metric("hello_cpu", "all µs/hello", 1, _MICRO, higher_is_better=False, group=_HELLO),
        Metric("hello_errors", "errors", higher_is_better=False, is_count=True, group=_HELLO),
        Metric("post_rate", "POST/s", group=_POST),
        Metric("post_cpu", "all ms/POST", 2, _MILLI, higher_is_better=False, group=_POST),
        Metric("post_errors", "errors", higher_is_better=False, is_count=True, group=_POST),
        Metric("download_rate", "MB/s", 0, _MEGA, group=_DOWNLOAD),
        Metric(
            "download_cpu", "all µs/MB", 0, _MICRO / _MEGA, higher_is_better=False, group=_DOWNLOAD
        ),
        Metric("download_errors", "errors", higher_is_better=False, is_count=True, group=_DOWNLOAD),
    )

    def workers(self, options: Options) -> int:
        return options.workers

    def warm_up(self, peer: RunningPeer, options: Options) -> None:
        seconds = min(1.0, options.duration)
        loads.keep_alive(peer.port, seconds)
        loads.post(peer.port, seconds, BODY)
        loads.download(peer.port, seconds)

    def sample(self, peer: RunningPeer, options: Options) -> Sample:
        start = peer.cpu()
        hello = loads.keep_alive(peer.port, options.duration)
        after_hello = peer.cpu()
        post = loads.post(peer.port, options.duration, BODY)
        after_post = peer.cpu()
        download = loads.download(peer.port, options.duration)
        end = peer.cpu()
        return {
            "hello_rate": hello.per_second,
            "hello_cpu": after_hello.since(start) / max(1, hello.completed),
            "hello_errors": float(hello.errors),
            "post_rate": post.per_second,
            "post_cpu": after_post.since(after_hello) / max(1, post.completed),
            "post_errors": float(post.errors),
            "download_rate": download.received_per_second,
            "download_cpu": end.since(after_post) / max(1, download.received),
            "download_errors": float(download.errors),
        }
