"""Where control sockets live, how a server makes one, and how a command finds it.

A server's socket is ``NAME.sock`` in the first folder that works: ``$XDG_RUNTIME_DIR/balancer``,
then ``balancer-UID`` in the temporary folder; else the abstract socket ``balancer/UID/NAME``.
People who run a server and people who ask it may see different environments (a unit file and a
shell), so a command looks in all of these places.

Nobody else may use the socket: the folder is 0700 and ours, the socket 0600, and both sides check
the other's uid by SO_PEERCRED, because an abstract socket has no permissions at all and any user
can make one with any name.

A path of a socket that nobody listens on is replaced, one that somebody listens on never.  The
folder is locked meanwhile, or two servers that start together could each remove the other's.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import socket
import stat
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from balancer.errors import RunError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from balancer.settings import Settings

__all__ = [
    "Address", "ControlSocket", "TakenError", "connect", "find_servers", "is_place", "open_control",
    "peer_pid",
    "peer_uid", "safe_name",
]  # fmt: skip

SUFFIX = ".sock"
# sockaddr_un.sun_path without its NUL
MAX_PATH = 107
# a short path through /proc has room for it, and an abstract name too
LONGEST_NAME = 64
BACKLOG = 16
# Not tempfile.gettempdir(), which tries by writing a file, takes the current folder where nothing
# else works, and raises where even that doesn't (a read-only root).
TEMPORARY = "/tmp"
SO_ACCEPTCON = 0x10000  # in the flags column of /proc/net/unix: listening


@dataclass(frozen=True, slots=True)
class Address:
    """A control socket: a path, or the name of an abstract socket (which begins with a NUL)."""

    name: str
    path: str

    @property
    def abstract(self) -> bool:
        return self.path.startswith("\0")

    def __str__(self) -> str:
        return self.path.replace("\0", "@")


class TakenError(OSError):
    """Somebody listens on this control socket already."""


@dataclass(slots=True)
class ControlSocket:
    """A listening, non-blocking control socket; ``close`` also removes its file, if it is ours.

    While it is ``lent``, the file is that of another master, which has the socket too.
    """

    address: Address
    socket: socket.socket
    inode: tuple[int, int] | None
    lent: bool = False

    def close(self) -> None:
        self.socket.close()
        if self.inode is None or self.lent:
            return
        with contextlib.suppress(OSError):
            if _inode(self.address.path) == self.inode:
                os.unlink(self.address.path)


def safe_name(name: str) -> str:
    """A name as part of a file name: ``127.0.0.1:8000`` stays, ``unix:/run/x`` gets dashes.

    What is changed or too long gets a piece of a hash, so that two names stay two.
    """
    safe = re.sub(r"[^A-Za-z0-9_.:\[\]+-]", "-", name).lstrip(".-")
    if safe == name and len(name) <= LONGEST_NAME:
        return name
    import hashlib  # rarely needed, and slow to import

    digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()
    return f"{safe[:48]}-{digest}".lstrip("-")


def open_control(settings: Settings, *, bound: str | None = None) -> ControlSocket:
    """Make the control socket of a server.

    Args:
        settings: ``control``, else ``name``, else the first bind say where.
        bound: The first address that is really bound, which names the server instead of the
            first bind: with port 0 the kernel chose it.

    Raises:
        RunError: there is no place for one, or it is taken; the text says which.
    """
    if settings.control is not None:
        path = os.path.abspath(settings.control)
        try:
            return _listen_at(Address(Path(path).name.removesuffix(SUFFIX), path))
        except OSError as error:
            raise RunError(
                f"{settings.where('control')} {settings.control}: {_reason(error)}"
            ) from None
    name = safe_name(settings.name or bound or str(settings.bind[0]))
    reasons: list[str] = []
    for address in _places(name, os.environ, os.geteuid()):
        try:
            if not address.abstract:
                _private_folder(Path(address.path).parent)
            return _listen_at(address)
        except TakenError as error:
            reasons = [f"{address}: {_reason(error)}"]
            break
        except OSError as error:
            reasons.append(f"{address}: {_reason(error)}")
    raise RunError("; ".join(reasons))


def is_place(path: str, settings: Settings, *, bound: str | None = None) -> bool:
    """Whether ``open_control`` would put the socket of such a server there, if it could."""
    if settings.no_control:
        return False
    if settings.control is not None:
        return os.path.abspath(settings.control) == path
    name = safe_name(settings.name or bound or str(settings.bind[0]))
    return any(each.path == path for each in _places(name, os.environ, os.geteuid()))


def _reason(error: OSError) -> str:
    return error.strerror or str(error)


def _places(name: str, env: Mapping[str, str], uid: int) -> Iterator[Address]:
    """Where a server of ours may put its socket, the best place first."""
    for folder in _folders(env, uid):
        yield Address(name, str(folder / f"{name}{SUFFIX}"))
    yield Address(name, f"\0balancer/{uid}/{name}")


def _folders(env: Mapping[str, str], uid: int) -> Iterator[Path]:
    runtime = env.get("XDG_RUNTIME_DIR", "")
    if runtime.startswith("/"):
        yield Path(runtime) / "balancer"
    yield Path(env.get("TMPDIR") or TEMPORARY) / f"balancer-{uid}"


def _private_folder(folder: Path) -> None:
    """Make it, or see that it is a folder that only we can write to.

    Raises:
        OSError: it can't be made, or it was made by somebody else, to catch us.
    """
    with contextlib.suppress(FileExistsError):
        folder.mkdir(0o700)
    about = os.lstat(folder)
    if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.geteuid() or about.st_mode & 0o077:
        raise PermissionError(errno.EPERM, "the folder is not ours alone (owner and mode 0700)")


def _listen_at(address: Address) -> ControlSocket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        inode = None
        if address.abstract:
            _bind_abstract(made, address)
        else:
            with _locked(Path(address.path).parent):
                _bind_path(made, address)
            inode = _inode(address.path)
        made.listen(BACKLOG)
        made.setblocking(False)
        return ControlSocket(address, made, inode)
    except BaseException:
        made.close()
        raise


def _bind_abstract(made: socket.socket, address: Address) -> None:
    try:
        made.bind(address.path)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise TakenError(errno.EADDRINUSE, "another server has this control socket") from None
        raise


def _bind_path(made: socket.socket, address: Address) -> None:
    with _short(address.path) as path:
        try:
            made.bind(path)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            _remove_stale(address)
            made.bind(path)
        # Nobody can connect before listen(), so nobody slips in before this.
        os.chmod(path, 0o600)


def _remove_stale(address: Address) -> None:
    """Unlink a socket that nobody listens on.

    Raises:
        TakenError: somebody does.
        OSError: it is no socket, or not ours to remove.
    """
    if not stat.S_ISSOCK(os.lstat(address.path).st_mode):
        raise OSError(errno.EEXIST, "there is a file that is no socket")
    if _is_live(address):
        raise TakenError(errno.EADDRINUSE, "another server has this control socket")
    os.unlink(address.path)


def _is_live(address: Address) -> bool:
    """Whether somebody listens there, be it a stopped process."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            with _short(address.path) as path:
                probe.connect(path)
        except OSError as error:
            # EAGAIN: its backlog is full
            return error.errno in {errno.EAGAIN, errno.EACCES}
        return True


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold a folder of ours against other servers that start right now."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # Anybody who can read a folder of others can lock it, for ever.
        if os.fstat(fd).st_mode & 0o077 == 0:
            fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


@contextlib.contextmanager
def _short(path: str) -> Iterator[str]:
    """The same path in at most 107 bytes: through /proc, when its folder's name is too long."""
    if path.startswith("\0") or len(os.fsencode(path)) <= MAX_PATH:
        yield path
        return
    folder, name = os.path.split(path)
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{fd}/{name}"
    finally:
        os.close(fd)


def _inode(path: str) -> tuple[int, int]:
    about = os.lstat(path)
    return about.st_dev, about.st_ino


def connect(address: Address, timeout: float) -> socket.socket:
    """A connection to a server, whose owner is checked: this user, or root.

    Raises:
        TimeoutError: it listens, but its backlog is full; BlockingIOError when ``timeout`` is 0.
        OSError: nobody listens, or somebody else does.
    """
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # A full backlog is EAGAIN at once on a non-blocking AF_UNIX socket, and a Python timeout
        # makes it one; a blocking connect() waits for room, as long as SO_SNDTIMEO says.
        made.setblocking(timeout > 0)
        if timeout > 0:
            limit = struct.pack("ll", int(timeout), max(1, int(timeout % 1 * 1_000_000)))
            made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
        with _short(address.path) as path:
            made.connect(path)
        made.settimeout(timeout)
        # Root may ask everybody's servers.
        if os.geteuid() != 0 and peer_uid(made) not in {0, os.geteuid()}:
            raise PermissionError(errno.EPERM, "the control socket belongs to another user")
        return made
    except BlockingIOError:
        made.close()
        if timeout > 0:
            raise TimeoutError from None
        raise
    except BaseException:
        made.close()
        raise


class HasOptions(Protocol):
    """A connected socket of any library."""

    def getsockopt(self, level: int, option: int, buffersize: int, /) -> bytes:
        """As of ``socket.socket``."""
        ...


def peer_uid(connected: HasOptions) -> int:
    """The user who made the other end: who called listen(), or connect()."""
    return _credentials(connected)[1]


def peer_pid(connected: HasOptions) -> int:
    """The process that made the other end; 0 when it isn't seen from here (a container)."""
    return _credentials(connected)[0]


def _credentials(connected: HasOptions) -> tuple[int, int, int]:
    size = struct.calcsize("iII")
    packed = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    pid, uid, gid = struct.unpack("iII", packed)
    return pid, uid, gid


def find_servers(env: Mapping[str, str], uid: int) -> list[Address]:
    """Every control socket of this user that somebody listens on; root sees everybody's."""
    found: dict[str, Address] = {}
    for folder in _visible_folders(env, uid):
        for path in _list(folder):
            address = Address(path.name.removesuffix(SUFFIX), str(path))
            found[address.path] = address
    for address in _abstract_in(_read_unix_table(), None if uid == 0 else uid):
        found[address.path] = address
    live = [address for address in found.values() if _is_reachable(address)]
    return sorted(live, key=lambda address: (address.name, address.path))


def _is_reachable(address: Address) -> bool:
    """Whether a server of ours listens there, be it a stopped one."""
    try:
        connect(address, timeout=0).close()
    except BlockingIOError:
        # its backlog is full
        return True
    except OSError:
        return False
    return True


def _visible_folders(env: Mapping[str, str], uid: int) -> Iterator[Path]:
    yield from _folders(env, uid)
    if env.get("TMPDIR"):  # where the server may not have had it
        yield Path(TEMPORARY) / f"balancer-{uid}"
    if uid == 0:
        yield from Path("/run/user").glob("*/balancer")
        for temporary in {env.get("TMPDIR") or TEMPORARY, TEMPORARY}:
            folders = Path(temporary).glob("balancer-*")
            yield from (one for one in folders if one.name[9:].isdecimal())
    else:
        # where the runtime folder is when a unit file or cron forgot to say so
        yield Path(f"/run/user/{uid}/balancer")


def _list(folder: Path) -> Iterable[Path]:
    try:
        return [path for path in folder.iterdir() if path.suffix == SUFFIX]
    except OSError:
        return []


def _read_unix_table() -> str:
    try:
        # names of sockets are bytes
        return Path("/proc/net/unix").read_text(errors="surrogateescape")
    except OSError:
        return ""


def _abstract_in(table: str, uid: int | None) -> Iterator[Address]:
    """The listening abstract control sockets in /proc/net/unix; without a uid everybody's."""
    for line in table.splitlines()[1:]:
        columns = line.split(maxsplit=7)
        if len(columns) < 8 or not int(columns[3], 16) & SO_ACCEPTCON:
            continue
        match = re.fullmatch(r"@balancer/(\d+)/([^/@]+)", columns[7])
        if match and uid in {None, int(match[1])}:
            yield Address(match[2], f"\0balancer/{match[1]}/{match[2]}")
