"""ASGI 3 apps on the worker's own engine, on trio.

``scope`` describes a request, ``http`` is one request's conversation with the app, ``lifespan``
starts and stops it, ``service`` puts them together.
"""

from balancer.apps.asgi.service import AsgiService
from balancer.apps.asgi.types import AsgiApp, AsgiConfig

__all__ = ["AsgiApp", "AsgiConfig", "AsgiService"]
