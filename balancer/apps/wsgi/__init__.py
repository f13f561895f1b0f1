"""WSGI apps (PEP 3333) in a bounded pool of threads, behind the worker's own engine.

``environ`` describes a request and ``response`` is what the app says to it, ``input`` and ``call``
are its way to the client, ``threads`` runs it, ``service`` puts them together.
"""

from balancer.apps.wsgi.service import WsgiService
from balancer.apps.wsgi.types import WsgiApp, WsgiConfig

__all__ = ["WsgiApp", "WsgiConfig", "WsgiService"]
