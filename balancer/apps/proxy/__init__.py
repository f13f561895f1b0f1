"""The reverse proxy: requests go on to upstream servers, and their answers come back.

service  what a worker runs: the HTTP server in front, the upstreams behind
handler  one request: attempts until one is answered
session  what is remembered of a client's connection
forward  the request's head, rewritten
key      what of it decides where it goes
upload   its body on the way there
attempt  one try at one endpoint
relay    the answer on its way back
tunnel   a connection that has left HTTP
"""
