"""Files of secrets: written once, for their owner alone, and refused if others can read them.

An error says what to do, and never shows the content of the file. `what` is what it calls the file: "network key".
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from dhtd.errors import KeyExists, KeyUnusable

CREDENTIALS_VARIABLE: Final = "CREDENTIALS_DIRECTORY"  # systemd.exec(5), LoadCredential=

_NO_SYNC: Final = (errno.EBADF, errno.EINVAL, errno.ENOSYS, errno.ENOTSUP)  # of a file system without it
_SIZE_MAX: Final = 1_024  # bytes of a file: more than a key has in any form that is to be expected


def write_new(path: Path, text: str) -> None:
    """Write a line into a new file of mode 0600; raise `KeyExists` or `KeyUnusable`. Never overwrites."""
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise KeyExists(f"{path} is there already, and is left as it is: name another file") from None
    except FileNotFoundError:
        missing = f"there is no directory {path.parent}; make it first"
        missing = missing if path.parent.name else "the working directory is gone"
        raise KeyUnusable(f"cannot write {path}: {missing}") from None
    except OSError as error:
        raise KeyUnusable(f"cannot write {path}: {error.strerror}") from None
    try:
        with os.fdopen(file, "w", encoding="ascii") as writing:
            os.fchmod(file, 0o600)  # whatever the umask leaves of it
            writing.write(f"{text}\n")
            writing.flush()
            os.fsync(file)
        _sync_names(path.parent)
    except BaseException as error:  # a Ctrl-C, too: half a key is in the way of a whole one
        path.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise KeyUnusable(f"cannot write {path}: {error.strerror}") from None
        raise


def _sync_names(directory: Path) -> None:
    """Wait until the names in a directory are on the disk, if its file system can be asked to.

    A key may sign something at once, and nobody else has it if its file is gone after a power failure.
    """
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except PermissionError:
        return  # a directory that may be written need not be readable
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise
    finally:
        os.close(descriptor)


def read_private(path: Path, what: str, advice: str, environ: Mapping[str, str]) -> str:
    """Return the text of a file; raise `KeyUnusable` if there is none, or if others can read it.

    `advice` is for a file that is not there.
    """
    try:
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # else a FIFO would have us wait for a writer
    except FileNotFoundError:
        raise KeyUnusable(f"there is no {what} {path}: {advice}") from None
    except OSError as error:
        raise KeyUnusable(f"the {what} {path} cannot be read: {error.strerror}") from None
    try:
        _refuse_unsafe(path, what, os.fstat(file), environ)
        data = os.read(file, _SIZE_MAX + 1)
    except OSError as error:
        raise KeyUnusable(f"the {what} {path} cannot be read: {error.strerror}") from None
    finally:
        os.close(file)
    return data.decode("ascii", "replace")


def _refuse_unsafe(path: Path, what: str, status: os.stat_result, environ: Mapping[str, str]) -> None:
    """Raise where others can read the file, or could have written it."""
    if not stat.S_ISREG(status.st_mode):
        raise KeyUnusable(f"the {what} {path} is not a regular file")
    if status.st_uid not in (os.geteuid(), 0):
        user = f"the user with ID {os.geteuid()}, who runs this"
        raise KeyUnusable(f"the {what} {path} belongs to the user with ID {status.st_uid}: give it to {user}")
    exposed = status.st_mode & 0o077
    if _is_credential(path, environ):
        exposed &= ~0o040  # systemd grants one user access by a list, which the mode shows here
    if exposed:
        raise KeyUnusable(f"the {what} {path} is open to others, mode {status.st_mode & 0o777:04o}: chmod 600 it")


def _is_credential(path: Path, environ: Mapping[str, str]) -> bool:
    """Whether systemd put the file into the directory of this service's credentials."""
    directory = environ.get(CREDENTIALS_VARIABLE, "")
    return directory.startswith("/") and path.resolve().parent == Path(directory).resolve()
