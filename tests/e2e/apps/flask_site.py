"""A Flask site, as people write them."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING

from flask import Flask, Response, jsonify, request, send_file

if TYPE_CHECKING:
    from collections.abc import Iterator

app = Flask(__name__)
WORKER = os.environ.get("BALANCER_WORKER_ID", "?")


@app.get("/")
def hello() -> str:
    return f"Hello from worker {WORKER} (pid {os.getpid()})"


@app.post("/echo")
def echo() -> Response:
    return Response(request.get_data(), mimetype="application/octet-stream")


@app.post("/upload")
def upload() -> Response:
    file = request.files["file"]
    return jsonify(name=file.filename, size=len(file.read()), note=request.form["note"])


@app.get("/stream/<int:count>")
def stream(count: int) -> Response:
    def lines() -> Iterator[str]:
        for number in range(count):
            yield f"line {number}\n"

    return Response(lines(), mimetype="text/plain")


@app.get("/file/<int:size>")
def file(size: int) -> Response:
    return send_file(io.BytesIO(bytes(size)), mimetype="application/octet-stream")


@app.get("/where")
def where() -> Response:
    return jsonify(url=request.url, peer=request.remote_addr, root=request.script_root)


@app.get("/error")
def error() -> str:
    raise ValueError("a bug of the site's")
