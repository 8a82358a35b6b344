"""Where the state file lies: making its place, telling whose it is, moving it aside, and what its errors mean."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from dhtd.errors import StateError, StateLocked, StateTooNew

APPLICATION_ID: Final = 0x44485444  # "DHTD", for file(1) and for us
VERSION: Final = 2  # of the schema, in `user_version`; 1 had no holders

BUSY_TIMEOUT: Final = 0.2  # seconds; a backup program that reads the file is done by then, a daemon is not

# What sqlite3 raises. A message that quotes a damaged part of the file may be no text: Python then raises the second,
# and what SQLite meant is lost. The third stands for SQLITE_NOMEM, which comes of damaged sizes, too.
SQLITE_ERRORS: Final = (sqlite3.Error, UnicodeDecodeError, MemoryError)
SqliteError = sqlite3.Error | UnicodeDecodeError | MemoryError

_PLENTY: Final = 64 << 20  # bytes

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


def prepare(path: Path) -> None:
    """Make the file's directory (0700) and the file (0600) where they are missing; raise `StateError`."""
    try:
        _make_directory(path.parent)
        with suppress(FileExistsError):
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
        mode = path.lstat().st_mode
    except (OSError, ValueError) as error:
        raise StateError(f"cannot make the state file {path}: {_reason(error)}; {_ELSEWHERE}") from error
    if stat.S_ISLNK(mode):
        raise StateError(f"the state file {path} is a symbolic link: give the path of the file itself with --state")
    if stat.S_ISDIR(mode):
        raise StateError(f"the state file {path} is a directory: give a file with --state, such as {path / 'dhtd.db'}")
    if not stat.S_ISREG(mode):
        raise StateError(f"the state file {path} is not a regular file; {_ELSEWHERE}")


def refuse_foreign(path: Path) -> None:
    """Raise where the file is plainly not for us, before anything can write to it.

    An immutable database is read without locks and without its journal, so this may see a file in the middle of a
    change, or nothing sensible at all. Only what it does see counts here; `check_origin` is asked again under the lock.
    """
    with suppress(*SQLITE_ERRORS), closing(connect(path, "mode=ro&immutable=1")) as connection:
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
    if application or version or connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        raise StateError(f"{path} is another program's database; it was left as it is; {_ELSEWHERE}")
    return None


def identity(path: Path) -> tuple[int, int] | None:
    """Return what tells this file from another one that has its name later; None where there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def move_aside(path: Path, found: tuple[int, int] | None) -> Path:
    """Rename the damaged file that was `found` here, and return its new path.

    Call it within `turn`. Where a file system gives none, whoever comes second finds another file here.
    """
    try:
        if identity(path) != found:
            raise StateLocked(f"another dhtd has just begun with the state file {path}; {_OWN_FILE}")
        aside = reserve_aside(path)
        for sibling in _SIBLINGS:  # first: once the name is free, the next daemon's journal is there
            with suppress(FileNotFoundError):
                Path(f"{path}{sibling}").rename(f"{aside}{sibling}")
        path.rename(aside)
        _sync_directory(path.parent)
        return aside
    except OSError as error:
        raise StateError(f"the damaged state file {path} cannot be moved aside: {_reason(error)}") from error


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
            return StateLocked(
                f"the state file {path} is in use, most likely by a running dhtd: stop it, or {_OWN_FILE}"
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
        _sync_directory(directory.parent)


def _sync_directory(directory: Path) -> None:
    with _opened(directory) as descriptor:
        os.fsync(descriptor)


@contextmanager
def _opened(directory: Path) -> Iterator[int]:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _reason(error: OSError | ValueError) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)


_OWN_FILE: Final = "give this one a file of its own with --instance or --state"
_ELSEWHERE: Final = "choose another file with --state"
