"""An ASGI app that says in what process it is: environment and ids, as JSON."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Send = Callable[[dict[str, Any]], Awaitable[None]]

if "SLOW" in os.environ:
    time.sleep(float(os.environ["SLOW"]))


def read_status() -> dict[str, str]:
    lines = Path("/proc/self/status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


async def app(scope: dict[str, Any], _receive: object, send: Send) -> None:
    assert scope["type"] == "http"
    if scope["path"] == "/status":
        body: object = read_status()
    else:
        body = dict(os.environ)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": json.dumps(body).encode()})


slow = app
