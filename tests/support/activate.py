"""Be systemd for a moment: open sockets, pass them on, and become the service.

    python -m tests.support.activate [--name NAME]... ADDRESS... -- COMMAND...

ADDRESS is HOST:PORT or unix:PATH.
"""

from __future__ import annotations

import os
import socket
import sys

FIRST = 3


def main(words: list[str]) -> None:
    split = words.index("--")
    names = []
    addresses = words[:split]
    while addresses[:1] == ["--name"]:
        names.append(addresses[1])
        del addresses[:2]
    opened = [open_socket(address) for address in addresses]
    # out of the way of the numbers that they are to have
    high = [os.dup2(sock.fileno(), 100 + index) for index, sock in enumerate(opened)]
    for index, fd in enumerate(high):
        os.dup2(fd, FIRST + index)
    environ = {
        **os.environ,
        "LISTEN_PID": str(os.getpid()),
        "LISTEN_FDS": str(len(opened)),
        "LISTEN_FDNAMES": ":".join(names),
    }
    command = words[split + 1 :]
    os.execve(command[0], command, environ)


def open_socket(address: str) -> socket.socket:
    if address.startswith("unix:"):
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(address.removeprefix("unix:"))
    else:
        host, _, port = address.rpartition(":")
        sock = socket.socket(socket.AF_INET)
        sock.bind((host, int(port)))
    sock.listen(128)
    return sock


if __name__ == "__main__":
    main(sys.argv[1:])
