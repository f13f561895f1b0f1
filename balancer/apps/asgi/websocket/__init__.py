"""WebSocket for ASGI apps (RFC 6455, RFC 7692; ASGI WebSocket 2.4).

``handshake`` and ``messages`` say what a client and an app may ask for, ``payload`` is compression
and the size limit, ``session`` the conversation behind the handshake: all four are pure.  ``wire``
moves their bytes, ``cycle`` is what the app sees, ``registry`` holds all WebSockets of a worker.
"""
