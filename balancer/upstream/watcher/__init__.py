"""The watcher: one process per machine that knows how the upstreams do, and where they are.

It probes every endpoint and asks for the addresses of names again and again, and writes what it
finds into the endpoints' table, where every worker sees it before its next request.  Nothing waits
for it: when it dies the table keeps what it says, and the master starts another one, which goes on
from there.

config   what it is told
process  its tasks, and its end: when the master closes the pipe, or dies, which closes it too
roll     the rows of the table that are its own to place and to remove
prober   when each endpoint is probed, and what follows from that
tcp      a probe: can it be connected to?
http     a probe: does it answer a GET as it should?
names    when each name is asked for, and what follows from that
answers  what the answers for a name mean, together.  Pure
hosts    the names of /etc/hosts, which nobody is asked for
resolver the names that name servers are asked for
"""
