"""The HTTP/1.1 reverse proxy: requests are passed on to upstream servers, and their answers back.

``handler`` is the way of one request: ``forward`` rewrites its head, ``upload`` sends its body, and
``relay`` passes the answer on; ``tunnel`` is what is left when both sides leave HTTP.
"""
