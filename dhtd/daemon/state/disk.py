"""The place of the state file: making it, telling our files from others, setting a file aside, explaining errors."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from dhtd.daemon.state.holder import who_has
from dhtd.daemon.state.schemas import VERSION
from dhtd.errors import StateError, StateLocked, StateTooNew

APPLICATION_ID: Final = 0x44485444  # "DHTD", for file(1) and for us

BUSY_TIMEOUT: Final = 0.2  # seconds; a backup program that reads the file is done by then, a daemon is not

# What sqlite3 raises. A message that quotes a damaged part of the file may be no text: Python then raises the second,
# and what SQLite meant is lost. The third stands for SQLITE_NOMEM, which comes of damaged sizes, too.
SQLITE_ERRORS: Final = (sqlite3.Error, UnicodeDecodeError, MemoryError)
SqliteError = sqlite3.Error | UnicodeDecodeError | MemoryError

_NAMES: Final = {"meta", "contact", "own", "held"}  # tables of every version

_PLENTY: Final = 64 << 20  # bytes

_NOTHING: Final = 1  # bytes of a file that SQLite takes for a new one: it has written a byte first, for old systems

ASIDES_MAX: Final = 8  # damaged files that are kept

_UNSUPPORTED: Final = (errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)
NO_LOCKS: Final = (errno.ENOLCK, *_UNSUPPORTED)  # what a file system says that has none
_NO_SYNC: Final = (errno.EBADF, *_UNSUPPORTED)  # what one says that has no use for the sync of a directory

_SIBLINGS: Final = ("-journal", "-wal", "-shm")  # what SQLite may have left beside a database


class DamagedError(Exception):
    """The file is not a database, or a broken one."""


def connect(path: Path, parameters: str) -> sqlite3.Connection:
    """Open the database with these URI parameters. By URI, since a plain name may mean something else to SQLite."""
    connection = sqlite3.connect(
        f"{path.as_uri()}?{parameters}",
        uri=True,
        timeout=BUSY_TIMEOUT,
        isolation_level=None,
        check_same_thread=False,
    )
    # Text that is not UTF-8 must read as text, to be refused as such, and not raise.
    connection.text_factory = lambda data: data.decode("utf-8", "surrogateescape")
    return connection


def prepare(path: Path) -> list[str]:
    """Make the file's directory (0700) and the file (0600) where they are missing; raise `StateError`.

    Return what is odd: a file or a journal that may be what is left of a node.
    """
    try:
        _make_directory(path.parent)
        is_new = True
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
        except FileExistsError:
            is_new = False
        status = path.lstat()
    except (OSError, ValueError) as error:
        raise StateError(f"cannot make the state file {path}: {_reason(error)}; {_ELSEWHERE}") from error
    mode = status.st_mode
    if stat.S_ISLNK(mode):
        raise StateError(f"the state file {path} is a symbolic link: give the path of the file itself with --state")
    if stat.S_ISDIR(mode):
        raise StateError(f"the state file {path} is a directory: give a file with --state, such as {path / 'dhtd.db'}")
    if not stat.S_ISREG(mode):
        raise StateError(f"the state file {path} is not a regular file; {_ELSEWHERE}")
    if status.st_size > _NOTHING:
        return []
    journal = next((name for name in (f"{path}-journal", f"{path}-wal") if _has_bytes(name)), None)
    if journal is not None:
        warning = f"there is {journal}, and nothing in the state file that it belongs to: a copy needs both of them"
        return [f"{warning}. This node begins anew"]
    if is_new:
        return []
    warning = f"the state file {path} was empty: if a node was in it, its ID and its entries are lost"
    return [f"{warning}. This node begins anew; if you made the file, all is well"]


def _has_bytes(name: str) -> bool:
    try:
        return os.lstat(name).st_size > 0
    except OSError:
        return False


def refuse_foreign(path: Path) -> None:
    """Raise if the file is plainly another program's, before anything can write to it.

    An immutable database is read without locks and without its journal, so this may see a file in the middle of a
    change, or nothing sensible at all. Only what it does see counts here; `check_origin` is asked again under the lock.
    """
    with suppress(*SQLITE_ERRORS, DamagedError), closing(connect(path, "mode=ro&immutable=1")) as connection:
        check_origin(path, connection)


def check_origin(path: Path, connection: sqlite3.Connection) -> int | None:
    """Return the version of the schema if it is a database of ours, None if it is empty; raise if it is another's."""

    def pragma(name: str) -> int:
        return int(connection.execute(f"PRAGMA {name}").fetchone()[0])

    application, version = pragma("application_id"), pragma("user_version")
    if application == APPLICATION_ID:
        if version > VERSION:
            raise StateTooNew(
                f"the state file {path} was written by a newer dhtd (its format is {version}, this program knows"
                f" {VERSION}): upgrade dhtd, or give it another file with --state"
            )
        if version < 1:
            raise DamagedError(f"its format is {version}, which never was")
        return version
    names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    if names >= _NAMES:
        raise DamagedError(f"it is marked as another program's ({application:08x}), and has our tables")
    if application or version or names:
        raise StateError(f"{path} is another program's database; it was left as it is; {_ELSEWHERE}")
    return None


def identity(path: Path) -> tuple[int, int] | None:
    """Return an identity that tells this file from a later one of its name; None where there is no file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


@contextmanager
def replacement(path: Path, found: tuple[int, int] | None) -> Iterator[Path]:
    """Yield where to build what is to replace the damaged file that was `found` here; nothing of it stays there.

    Call it within `turn`. On a file system without locks, the second daemon finds another file here, and stops.
    """
    if identity(path) != found:
        raise StateLocked(f"another dhtd has just begun with the state file {path}; {_OWN_FILE}")
    fresh = path.with_name(f"{path.name}.new")
    try:
        _remove(fresh)
        yield fresh
    except OSError as error:
        raise StateError(f"the damaged state file {path} cannot be replaced: {_reason(error)}") from error
    finally:
        with suppress(OSError):
            _remove(fresh)


def put_in_place(fresh: Path, path: Path) -> Path:
    """Set a damaged file aside, give another one its name, and return where the damaged one is.

    A crash leaves either of them there, and none of them incomplete.
    """
    aside = reserve_aside(path)
    try:
        _copy(path, aside)
        for sibling in _SIBLINGS:  # they must not be taken for those of the new file
            with suppress(FileNotFoundError):
                Path(f"{path}{sibling}").replace(f"{aside}{sibling}")
        sync_file(fresh)
        try:
            fresh.replace(path)
        except OSError as error:
            if error.errno not in (errno.EBUSY, errno.EXDEV):
                raise
            _copy(fresh, path)  # the name is a mount of its own, which nothing can replace
        sync_directory(path.parent)
    except OSError as error:
        with suppress(OSError):
            _remove(aside)
        raise StateError(f"the damaged state file {path} cannot be set aside: {_reason(error)}") from error
    _tidy(path)
    return aside


def copy_aside(path: Path, connection: sqlite3.Connection) -> Path:
    """Set a copy of an open file aside, and return where it is."""
    aside = reserve_aside(path)
    try:
        with closing(connect(aside, "mode=rw")) as copy:
            connection.backup(copy)
    except BaseException:
        _remove(aside)
        raise
    _tidy(path)
    return aside


def reserve_aside(path: Path) -> Path:
    """Make an empty file with a name that nobody has, for a damaged one to take its place."""
    stem = f"{path}.damaged-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    count = 1
    while True:
        aside = Path(stem if count == 1 else f"{stem}-{count}")
        try:
            os.close(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        except FileExistsError:
            count += 1
        else:
            return aside


def _tidy(path: Path) -> None:
    """Keep the latest of what was set aside: a disk that damages the file at each start is not to be filled as well."""
    prefix = f"{path.name}.damaged-"
    with suppress(OSError):
        asides = [
            (aside.lstat().st_mtime_ns, aside.name, aside)
            for aside in path.parent.iterdir()
            if aside.name.startswith(prefix) and not aside.name.endswith(_SIBLINGS)
        ]
        for _, _, aside in sorted(asides)[:-ASIDES_MAX]:
            _remove(aside)


def _copy(source: Path, destination: Path) -> None:
    """Copy the bytes of a file into another one that is there, and wait for the disk."""
    with source.open("rb") as old, destination.open("r+b") as new:
        shutil.copyfileobj(old, new)
        new.truncate()
        new.flush()
        os.fsync(new.fileno())


def _remove(path: Path) -> None:
    """Remove a file, and what SQLite left beside it."""
    for sibling in ("", *_SIBLINGS):
        Path(f"{path}{sibling}").unlink(missing_ok=True)


def discard_empty(path: Path) -> None:
    """Remove a file that was made, but never written, so that nobody takes it for what is left of a node."""
    with suppress(OSError):
        if not path.lstat().st_size:
            _remove(path)


def has_locks(path: Path) -> bool:
    """Whether the file system has locks. This process must not have the file open: closing it gives up its locks."""
    try:
        with path.open("r+b") as file:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in NO_LOCKS
    return True


def explain(path: Path, error: SqliteError) -> StateError | DamagedError:
    """Return what an error of SQLite means to the user."""
    if isinstance(error, UnicodeDecodeError):
        return DamagedError("its tables have names that are no text")
    if isinstance(error, MemoryError):
        if _has_memory():
            return DamagedError("it gives sizes that cannot be")
        return StateError(f"there is too little memory to read the state file {path}: nothing was changed")
    # The extended code tells more than anyone can act on; the low byte is the kind.
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    match code:
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            by = who_has(path)
            return StateLocked(
                f"the state file {path} is in use{', most likely' if by is None else ''} by {by or 'a running dhtd'}:"
                f" stop it, or {_OWN_FILE}"
            )
        case sqlite3.SQLITE_FULL:
            return StateError(f"no space left for the state file {path}: nothing was changed; make room and try again")
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_AUTH:
            return StateError(
                f"the state file {path} cannot be written ({error}): it and its directory must be writable for the user"
                f" that runs dhtd, and not on a read-only file system; {_ELSEWHERE}"
            )
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB | sqlite3.SQLITE_FORMAT | sqlite3.SQLITE_ERROR:
            return DamagedError(str(error))  # SQLITE_ERROR: a table or a column is missing
        case _:
            return StateError(
                f"the state file {path}: {error} ({name}); nothing was changed; check the disk and its log"
            )


def _has_memory() -> bool:
    """Whether there is more memory than a sound file of ours would have SQLite ask for at once."""
    try:
        return bool(bytearray(_PLENTY))
    except MemoryError:
        return False


def _make_directory(directory: Path) -> None:
    """Make a directory and its parents, private and durable."""
    if directory.is_dir():
        return
    _make_directory(directory.parent)
    with suppress(FileExistsError):  # made by somebody else meanwhile; if it is a file, the next step says so
        directory.mkdir(mode=0o700)
        sync_directory(directory.parent)


def sync_file(path: Path) -> None:
    """Wait until what is in a file is on the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def sync_directory(directory: Path) -> bool:
    """Wait until the names in a directory are on the disk; return whether its file system can be asked to."""
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except PermissionError:
        return False  # what may be written need not be readable
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise
        return False
    finally:
        os.close(descriptor)
    return True


def _reason(error: OSError | ValueError) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)


_OWN_FILE: Final = "give this one a file of its own with --instance or --state"
_ELSEWHERE: Final = "choose another file with --state"
