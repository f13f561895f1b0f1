"""The endpoints' table: what all workers together know about the servers behind them.

``max`` connections, ejections, the retry budget and the queue hold for the machine, so what they
are decided by is counted in shared memory: one memfd, made by the master, mapped by the workers and
by the helper that probes and looks names up.  There is no lock in it and no message about it.

layout   where every word is, and what it means
address  addresses in words
stamps   numbers that never come back, for what several processes write
heads    what an endpoint is: its address and its health
table    the file and the mapping; the master's side of the workers' counters
view     a worker's side: its own counters, and the sums over all workers
"""

from balancer.net.endpoints.address import Address as Address
from balancer.net.endpoints.heads import EndpointRow as EndpointRow
from balancer.net.endpoints.heads import Heads as Heads
from balancer.net.endpoints.layout import ENDPOINTS as ENDPOINTS
from balancer.net.endpoints.layout import POOLS as POOLS
from balancer.net.endpoints.table import ANY_EDITION as ANY_EDITION
from balancer.net.endpoints.table import EndpointTable as EndpointTable
from balancer.net.endpoints.table import Totals as Totals
from balancer.net.endpoints.view import WorkerView as WorkerView
