"""A Django site in one file."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import FileResponse, HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.http import HttpRequest
    from django.http.response import HttpResponseBase

settings.configure(
    ALLOWED_HOSTS=["*"],
    MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
    ROOT_URLCONF=__name__,
    SECRET_KEY="not one",
    FILE_UPLOAD_HANDLERS=["django.core.files.uploadhandler.MemoryFileUploadHandler"],
)
WORKER = os.environ.get("BALANCER_WORKER_ID", "?")


def hello(_: HttpRequest) -> HttpResponse:
    return HttpResponse(f"Hello from worker {WORKER} (pid {os.getpid()})")


def echo(request: HttpRequest) -> HttpResponse:
    return HttpResponse(request.body, content_type="application/octet-stream")


def upload(request: HttpRequest) -> HttpResponse:
    file = request.FILES["file"]
    found = {"name": file.name, "size": len(file.read()), "note": request.POST["note"]}
    return JsonResponse(found)


def stream(_: HttpRequest, count: int) -> HttpResponseBase:
    def lines() -> Iterator[str]:
        for number in range(count):
            yield f"line {number}\n"

    return StreamingHttpResponse(lines(), content_type="text/plain")


def file(_: HttpRequest, size: int) -> HttpResponseBase:
    return FileResponse(io.BytesIO(bytes(size)), content_type="application/octet-stream")


def where(request: HttpRequest) -> HttpResponse:
    return JsonResponse(
        {
            "url": request.build_absolute_uri(),
            "peer": request.META["REMOTE_ADDR"],
            "root": request.META["SCRIPT_NAME"],
        }
    )


def error(_: HttpRequest) -> HttpResponse:
    raise ValueError("a bug of the site's")


urlpatterns = [
    path("", hello),
    path("echo", echo),
    path("upload", upload),
    path("stream/<int:count>", stream),
    path("file/<int:size>", file),
    path("where", where),
    path("error", error),
]
application = get_wsgi_application()
