"""A copy of an open state file, for a backup while the daemon serves.

SQLite's own backup makes it, page by page within one transaction, so it is never from the middle of a change. The copy
lies beside the state file, the one place where a confined daemon may write. It has no name from its first byte on, so
nothing of it stays, whatever becomes of this process.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from typing import BinaryIO

from dhtd.daemon.state.disk import SQLITE_ERRORS, connect
from dhtd.errors import StateError


def unnamed_copy(path: Path, connection: sqlite3.Connection) -> BinaryIO:
    """Return a copy of a database, to be read from its beginning. It is gone when it is closed.

    `connection` is to the database at `path`, and not within a transaction. Raises `StateError`.
    """
    try:
        descriptor, name = tempfile.mkstemp(prefix=".dhtd-backup-", dir=path.parent)
        file = os.fdopen(descriptor, "rb", buffering=0)
        try:
            try:
                copy = connect(Path(name), "mode=rw&vfs=unix-none")  # without locks: nobody else can find it
            finally:
                Path(name).unlink()
            with closing(copy):
                copy.execute("PRAGMA journal_mode = OFF")  # a copy that is not whole is thrown away
                copy.execute("PRAGMA synchronous = OFF")
                connection.backup(copy)
        except BaseException:
            file.close()
            raise
    except (OSError, *SQLITE_ERRORS) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
        raise StateError(
            f"no copy of the state file {path} can be made ({reason}): its directory needs as much room as it takes,"
            " and must be writable"
        ) from error
    return file
