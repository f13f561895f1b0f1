"""The other side: connections to upstream servers, the pool of idle ones, and who gets a request.

It stands on the HTTP/1.1 engine, whose transports and parsers it uses from the other end.

placement   names and addresses into rows of the endpoints' table
directory   what the proxy's handler may ask for
endpoints   the answer to that: choice, count, health and connections together
lease       one attempt's claim on an endpoint
queue       requests that wait for room
pool        idle connections
dial        new ones: connect, handshake, tls
connection  a request out, its response in, and again
watcher     a process of its own: probes, and names when their time is over
"""
