"""The library: Node's cluster module in Python's and trio's idiom.

run             serve an app, as ``balancer serve`` does, from a script
open_cluster    the same for programs: workers, events, messages
current_worker  in a worker: who am I
"""

from balancer.cluster.apps import Server as Server
from balancer.cluster.cluster import Cluster as Cluster
from balancer.cluster.cluster import open_cluster as open_cluster
from balancer.cluster.events import Address as Address
from balancer.cluster.events import Disconnect as Disconnect
from balancer.cluster.events import Event as Event
from balancer.cluster.events import Exit as Exit
from balancer.cluster.events import Fork as Fork
from balancer.cluster.events import Listening as Listening
from balancer.cluster.events import Message as Message
from balancer.cluster.events import Online as Online
from balancer.cluster.script import run as run
from balancer.cluster.worker import Process as Process
from balancer.cluster.worker import Worker as Worker
from balancer.core.lifecycle import State as State
from balancer.net.feeds import Subscription as Subscription
from balancer.worker.current import CurrentWorker as CurrentWorker
from balancer.worker.current import Mail as Mail
from balancer.worker.current import current_worker as current_worker
