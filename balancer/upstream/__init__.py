"""The other side: connections to upstream servers, the pool of idle ones, and who gets a request.

It stands on the HTTP/1.1 engine, whose transports and parsers it uses from the other end.
"""
