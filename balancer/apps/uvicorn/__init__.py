"""ASGI apps on asyncio: uvicorn's protocol classes on connections that balancer hands over.

service    one worker's uvicorn: its configuration, its connections, its drain
protocols  uvicorn's classes, with an eye on when a connection idles and when it has ended
front      the app behind a counter, and told who its client is

uvicorn (BSD-3-Clause) is an extra: nothing outside this package imports it, and only workers with
``--engine uvicorn`` import this package.
"""

from balancer.apps.uvicorn.service import UvicornConfig as UvicornConfig
from balancer.apps.uvicorn.service import UvicornService as UvicornService
