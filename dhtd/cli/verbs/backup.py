"""`dht backup`: a copy of the daemon's state file, taken while it serves.

The daemon sends the copy and the client writes the file. So the file may lie where the daemon may not write, and it
belongs to the user who asks.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from secrets import token_hex
from typing import Annotated

import typer

from dhtd.cli.completion.candidates import complete_file
from dhtd.cli.output import JsonOption, Session, Verb, session
from dhtd.cli.streams import put_bytes
from dhtd.cli.terminal import tidying
from dhtd.cli.told import Told
from dhtd.errors import BackupExists, BackupUnusable, UsageError
from dhtd.words import count

JOURNALS = ("-journal", "-wal")  # what SQLite plays back into the database beside it


@dataclass(frozen=True, slots=True)
class Written:
    """What is printed about a backup."""

    file: str
    bytes: int


def backup(
    context: typer.Context,
    file: Annotated[
        str,
        typer.Argument(metavar="FILE", help="The new file; - is the standard output.", autocompletion=complete_file),
    ],
    *,
    force: Annotated[bool, typer.Option("--force", help="Replace FILE if it exists.")] = False,
    json: JsonOption = False,
) -> None:
    """Copy the daemon's state file while it serves. The copy has its ID, its entries and its contacts."""
    options = session(context, json=json)
    if file == "-":
        _print(options)
        return
    if not file:
        raise UsageError("FILE is empty: name the file to write the backup into")
    if file.rpartition("/")[2] in ("", ".", ".."):
        raise UsageError(f"{file} is the path of a directory: name the file to write the backup into")
    with options.client() as client, tidying():
        written = Written(file, write(Path(file), client.backup(), force=force))
    options.show(Told(asdict(written)), [])
    options.note(f"{file}: {count(written.bytes, 'byte')}")


def _print(options: Session) -> None:
    if options.json:
        raise UsageError("--json and -: the standard output cannot have both")
    if sys.stdout.isatty():
        raise UsageError("a backup is no text for a terminal: name a file")
    with options.client() as client:
        for piece in client.backup():
            put_bytes(piece)


def write(path: Path, pieces: Iterable[bytes], *, force: bool) -> int:
    """Write a file of mode 0600, all of it or nothing; return how long it is.

    Raises `BackupExists` where there is one that is not to be replaced, and `BackupUnusable`.
    """
    _check(path, force=force)
    temporary = path.with_name(f".dht-backup-{token_hex(8)}")
    size = 0
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as writing:
            os.fchmod(descriptor, 0o600)  # whatever the umask leaves of it
            for piece in pieces:
                size += writing.write(piece)
            writing.flush()
            os.fsync(descriptor)
        _put_in_place(temporary, path, force=force)
    except FileNotFoundError:
        raise BackupUnusable(f"cannot write {path}: there is no directory {path.parent}; make it first") from None
    except OSError as error:
        raise BackupUnusable(f"cannot write {path}: {error.strerror}") from None
    finally:
        temporary.unlink(missing_ok=True)
    return size


def _check(path: Path, *, force: bool) -> None:
    """Raise where nothing may be written."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        pass
    except OSError as error:
        raise BackupUnusable(f"cannot write {path}: {error.strerror}") from None
    else:
        if not stat.S_ISREG(mode):
            raise BackupUnusable(f"{path} is there already, and no regular file: name another file")
        if not force:
            raise _exists(path)
    # A running daemon's file has a journal, too, and must not be replaced under it.
    journal = next((name for end in JOURNALS if os.path.lexists(name := f"{path}{end}")), None)
    if journal is not None:
        raise BackupUnusable(
            f"there is {journal}: a dhtd has {path} as its state file, or had, and what is left would be mixed into the"
            " backup; name another file"
        )


def _put_in_place(temporary: Path, path: Path, *, force: bool) -> None:
    if force:
        temporary.replace(path)
    else:
        try:
            path.hardlink_to(temporary)  # which never replaces
        except FileExistsError:
            raise _exists(path) from None
        except OSError:  # a file system without such links
            _check(path, force=False)
            temporary.replace(path)
    _sync_directory(path.parent)


def _sync_directory(directory: Path) -> None:
    from dhtd.daemon.state.disk import sync_directory

    sync_directory(directory)


def _exists(path: Path) -> BackupExists:
    return BackupExists(f"{path} is there already, and is left as it is: name another file, or give --force")


def register(app: typer.Typer) -> None:
    """Add the verb."""
    examples = "dht backup dhtd.db\ndht backup --force /backup/dhtd.db --json\nssh server dht backup - > server.db"
    app.command(cls=Verb, epilog=examples)(backup)
