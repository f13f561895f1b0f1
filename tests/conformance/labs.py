"""A real Node cluster, and ours by way of the library, driven by the same commands.

    with NodeLab() as lab:
        first = lab.fork()
        assert lab.sequential(4) == [first] * 4

What the two processes understand stands in node_api.js.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from benchmarks.process import ServerProcess
from tests.conformance.scenarios import sequential

if TYPE_CHECKING:
    from types import TracebackType

_HERE = Path(__file__).parent
Event = dict[str, Any]


class Lab:
    """A cluster without workers at first; leaving the context kills it, whatever it does."""

    argv: tuple[str, ...] = ()

    def __init__(self, listeners: int = 1) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="balancer-test-"))
        self.process = ServerProcess([*self.argv, str(listeners)], wrap_stdin=True)
        self._listeners = listeners
        self._forked = 0
        self.ports: list[int] = []

    def __enter__(self) -> Self:
        self.process.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        if error is not None:
            print(f"log of {self.process.argv}{self.process.tail(100)}", file=sys.stderr)
        self.process.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def port(self) -> int:
        return self.ports[0]

    def say(self, *words: object) -> None:
        self.process.write(" ".join(map(str, words)))

    def ask(self, *words: object, answer: str) -> Any:  # noqa: ANN401 - JSON
        """What the next line says that begins with ``answer``."""
        before = len(self.process.log_lines())
        self.say(*words)
        line = self.process.wait_for_line(f"^{answer} ", after=before)
        return json.loads(line.text.removeprefix(f"{answer} "))

    def start_fork(self, **env: object) -> int:
        """Fork a worker; its id."""
        self.say("fork", json.dumps({name: str(value) for name, value in env.items()}))
        self._forked += 1
        return self._forked

    def fork(self, **env: object) -> int:
        """Fork a worker and wait until it listens."""
        worker = self.start_fork(**env)
        self.wait_listening(worker)
        return worker

    def wait_listening(self, worker: int) -> None:
        for _ in range(self._listeners):
            event = self.wait("listening", worker, self._listeners)
        if not self.ports:
            found = [each["port"] for each in self.events(worker) if each["name"] == "listening"]
            self.ports = sorted(found) if isinstance(self, NodeLab) else found
        assert event

    def wait(self, name: str, worker: int, count: int = 1) -> Event:
        """The ``count``th event of this name and worker, since the start."""
        pattern = rf'^event {{"name": ?"{name}", ?"worker": ?{worker}\b'
        line = self.process.wait_for_lines(pattern, count, deadline=10.0)[count - 1]
        event: Event = json.loads(line.text.removeprefix("event "))
        return event

    def events(self, worker: int | None = None) -> list[Event]:
        """All events until now, perhaps of one worker."""
        lines = [each for each in self.process.log_lines() if each.startswith("event ")]
        events: list[Event] = [json.loads(each.removeprefix("event ")) for each in lines]
        return [each for each in events if worker in {None, each["worker"]}]

    def send(self, worker: int, **message: object) -> None:
        self.say("send", worker, json.dumps(message))

    def sequential(self, count: int) -> list[int]:
        """Who answers so many connections, one after the other."""
        return sequential(self.port, count)


class NodeLab(Lab):
    argv = ("node", str(_HERE / "node_api.js"))


class OurLab(Lab):
    argv = (sys.executable, str(_HERE / "our_api.py"))
