"""The control socket as a file: its place, its making, its removal.

Its laws:

- Only the daemon's user and root can put anything in its place. Its directory belongs to one of them, is no symbolic
  link, and is writable for nobody else. Those above it are the same, or sticky like /tmp. So nobody else can change
  anything after the check. Any other place is refused.
- It is never open to more people than intended, not for a moment. It is made with mode 0600, then given to the group,
  and then opened for it (0660). Missing directories are made with mode 0700, or 0710 for a group.
- A socket without a listener is replaced. A socket with one, and a file that is no socket, are left alone. One daemon
  at a time looks and replaces, so that none takes the new socket of another for a stale one.
- It can be made again while the daemon runs, in case somebody removed it, or its directory.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self

from dhtd.control.peer import group_id
from dhtd.errors import SocketInUse, SocketUnusable

BACKLOG: Final = 64
_TURN_WAIT: Final = 2.0  # seconds for another daemon that starts here to be done with the directory
_TURN_PAUSE: Final = 0.02


class Role(NamedTuple):
    """What a socket is for, in messages."""

    what: str
    option: str  # names another place
    prefix: str  # of a path, behind the option
    otherwise: str  # advice where a daemon has it already


CONTROL: Final = Role("control socket", "--socket", "", "For a second one, use --instance NAME")


class ControlSocket:
    """A listening socket and its file. Leaving the context closes the socket and removes the file.

    Raises `SocketInUse` if a daemon listens on `path` already, `SocketUnusable` if no socket can be made, and
    `ConfigError` if there is no `group` of that name. `notice` is a warning for the user, or None.
    """

    def __init__(self, path: Path, group: str | None = None, as_: Role = CONTROL) -> None:
        self.group = None if group is None else group_id(group)
        self._path = path
        self._group_name = group
        self._as = as_
        self.listening = _make(path, self.group, group, as_)
        self._identity = _identity(path)
        self.notice = None if self.group is None else _out_of_reach(path, self.group, str(group))

    def __enter__(self) -> Self:
        """Return the socket."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Listen no more."""
        self.remove()
        self.listening.close()

    @property
    def is_lost(self) -> bool:
        """Whether clients no longer find it: the file was removed or replaced."""
        found = _identity(self._path)
        return found is None or self._identity is None or found[:2] != self._identity[:2]

    def renew(self) -> None:
        """Make a new socket in its place. The caller listens on that one, and closes the old one.

        Raises the errors of the constructor; then the old one stays.
        """
        self.listening = _make(self._path, self.group, self._group_name, self._as, patience=0.0)
        self._identity = _identity(self._path)

    def desert(self) -> None:
        """Leave the file where it is, as a process that is killed does."""
        self._identity = None

    def remove(self) -> None:
        """Remove the file, unless another daemon made a new one."""
        if self._identity is not None and _identity(self._path) == self._identity:
            with suppress(OSError):
                self._path.unlink()


def _make(path: Path, gid: int | None, group: str | None, as_: Role, patience: float = _TURN_WAIT) -> socket.socket:
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _make_directory(path.parent, gid, group)
        _check_place(path, as_)
        with _turn(path.parent, patience):
            _remove_stale(path, as_)
            _bind(listening, path)
            try:
                if gid is not None:
                    _give_to_group(path, 0o660, gid, str(group))
                listening.listen(BACKLOG)
            except BaseException:
                path.unlink()
                raise
    except OSError as error:
        listening.close()
        if error.errno == errno.EADDRINUSE:
            raise _in_use(path, as_) from None
        reason = error.strerror or str(error)
        raise SocketUnusable(f"cannot make the {as_.what} {path}: {reason}. Use {as_.option} for another") from None
    except BaseException:
        listening.close()
        raise
    listening.setblocking(False)
    return listening


def _bind(listening: socket.socket, path: Path) -> None:
    if os.uname().sysname == "Linux":  # the file of a socket has the mode of the socket, less the mask
        os.fchmod(listening.fileno(), 0o600)
        listening.bind(str(path))
        return
    # The mask is that of the whole process. No other thread makes a file now that more people should read.
    before = os.umask(0o177)
    try:
        listening.bind(str(path))
    finally:
        os.umask(before)


def _make_directory(directory: Path, gid: int | None, group: str | None) -> None:
    """Make a directory, and missing ones above it, for us alone, or also for the group to pass through."""
    if os.path.lexists(directory):
        return
    _make_directory(directory.parent, gid, group)
    try:
        directory.mkdir(mode=0o700)
    except FileExistsError:
        return  # somebody made it meanwhile; the check tells whether one of us
    if gid is not None:
        try:
            _give_to_group(directory, 0o710, gid, str(group))
        except SocketUnusable:
            directory.rmdir()
            raise


def _give_to_group(path: Path, mode: int, gid: int, group: str) -> None:
    try:
        os.chown(path, -1, gid, follow_symlinks=False)
    except PermissionError:
        raise SocketUnusable(
            f"the control socket cannot be given to the group {group}: user {os.geteuid()}, who runs this daemon, is"
            " not in it. Add the user to it (usermod -aG) and log in anew, or give another group with --socket-group"
        ) from None
    path.chmod(mode)  # last: it must be the group's before


def _check_place(path: Path, as_: Role) -> None:
    """Raise `SocketUnusable` if others than us and root could put something in the socket's place."""
    directory = path.parent.absolute()
    mode = directory.lstat().st_mode
    if stat.S_ISLNK(mode):
        raise SocketUnusable(
            f"the {as_.what}'s directory {directory} is a symbolic link, which could be led elsewhere: give the"
            f" path that it leads to, as {as_.option} {as_.prefix}{directory.resolve() / path.name}"
        )
    if not stat.S_ISDIR(mode):
        raise SocketUnusable(f"{directory} is no directory for the {as_.what}. Use {as_.option} for another")
    for place in dict.fromkeys((directory, *directory.parents, *directory.resolve().parents)):
        status = place.lstat()
        if status.st_uid not in {0, os.geteuid()}:
            raise SocketUnusable(
                f"the {as_.what} {path} would lie in {place}, which belongs to user {status.st_uid}, who could put"
                f" another in its place: name one in a directory of the daemon's own user with {as_.option}"
            )
        sticky = status.st_mode & stat.S_ISVTX
        writable = status.st_mode & 0o022 and not stat.S_ISLNK(status.st_mode)
        if writable and (place == directory or not sticky):
            raise SocketUnusable(
                f"the {as_.what} {path} would lie in {place}, where others may write"
                f" (mode {stat.S_IMODE(status.st_mode):04o}) and could put another in its place: "
                + (
                    f"give it a directory of its own, as {as_.option} {as_.prefix}{directory / 'dhtd' / path.name}"
                    if sticky
                    else f"chmod go-w {place}, or name one elsewhere with {as_.option}"
                )
            )


@contextmanager
def _turn(directory: Path, patience: float) -> Iterator[None]:
    """Make other daemons that start in this directory wait until the context ends.

    Everybody who can read the directory can lock it, so we do not wait long. Without the lock we go on: only two
    daemons that start at the same moment could then disturb each other.
    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        for _ in range(max(1, round(patience / _TURN_PAUSE))):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(min(_TURN_PAUSE, patience))
            except OSError:
                break  # a file system without locks
        yield
    finally:
        os.close(descriptor)


def _remove_stale(path: Path, as_: Role) -> None:
    """Remove a socket without a listener; raise `SocketInUse` for one with, `SocketUnusable` for another file."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise SocketUnusable(f"{path} is in the way of the {as_.what}, and is no socket. Use {as_.option} for another")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
        except BlockingIOError:
            raise _in_use(path, as_) from None
        else:
            raise _in_use(path, as_)


def _in_use(path: Path, as_: Role) -> SocketInUse:
    return SocketInUse(f"a running daemon has the {as_.what} {path}. {as_.otherwise}")


def _identity(path: Path) -> tuple[int, int, int] | None:
    """Return the identity of a file: a later one may have the same inode, but another time. None if there is none."""
    try:
        status = path.lstat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_mtime_ns


def _out_of_reach(path: Path, gid: int, group: str) -> str | None:
    """Return a warning if modes keep the group from the socket; access control lists may still let it in."""
    for place in path.parent.resolve(), *path.parent.resolve().parents:
        status = place.stat()
        if not status.st_mode & stat.S_IXOTH and not (status.st_gid == gid and status.st_mode & stat.S_IXGRP):
            return (
                f"members of the group {group} cannot reach the control socket {path}: {place} is closed to them (mode"
                f" {stat.S_IMODE(status.st_mode):04o}, group {status.st_gid}). Open it (chgrp {group} {place}; chmod"
                f" g+x {place}), or give a socket elsewhere with --socket, such as /run/dhtd/control.sock"
            )
    return None
