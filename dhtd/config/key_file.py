"""Files of network keys: written once, for their owner alone, and refused if others can read them.

An error says what to do, and never shows the content of the file.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from random import Random
from typing import Final

from dhtd.errors import KeyExists, KeyUnusable, UsageError
from dhtd.wire.network_key import KEY_SIZE, NetworkKey

CREDENTIALS_VARIABLE: Final = "CREDENTIALS_DIRECTORY"  # systemd.exec(5), LoadCredential=

_SIZE_MAX: Final = 1_024  # bytes of a file: more than a key has in any form that is to be expected


def make(path: Path, rng: Random) -> NetworkKey:
    """Write a new key into a new file of mode 0600; raise `KeyExists` or `KeyUnusable`. Never overwrites."""
    key = NetworkKey(rng.randbytes(KEY_SIZE))
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
            writing.write(f"{key.to_text()}\n")
            writing.flush()
            os.fsync(file)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise KeyUnusable(f"cannot write {path}: {error.strerror}") from None
    return key


def read_all(paths: Iterable[Path], environ: Mapping[str, str]) -> tuple[NetworkKey, ...]:
    """Return the keys in these files; raise `KeyUnusable` for the first that cannot be used."""
    return tuple(read(path, environ) for path in paths)


def read(path: Path, environ: Mapping[str, str]) -> NetworkKey:
    """Return the key in a file; raise `KeyUnusable` if there is none, or if others can read it."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # else a FIFO would have us wait for a writer
    except FileNotFoundError:
        advice = f"`dhtd keygen {path}` makes a new one"
        if "," in str(path):
            advice = "two files are named by two options, or by two elements of an array"
        raise KeyUnusable(f"there is no network key {path}: {advice}") from None
    except OSError as error:
        raise KeyUnusable(f"the network key {path} cannot be read: {error.strerror}") from None
    try:
        _refuse_unsafe(path, os.fstat(file), environ)
        data = os.read(file, _SIZE_MAX + 1)
    except OSError as error:
        raise KeyUnusable(f"the network key {path} cannot be read: {error.strerror}") from None
    finally:
        os.close(file)
    try:
        return NetworkKey.parse(data.decode("ascii", "replace"))
    except UsageError as error:
        raise KeyUnusable(f"{path} {error}") from None


def _refuse_unsafe(path: Path, status: os.stat_result, environ: Mapping[str, str]) -> None:
    """Raise where others can read the file, or could have written it."""
    if not stat.S_ISREG(status.st_mode):
        raise KeyUnusable(f"the network key {path} is not a regular file")
    if status.st_uid not in (os.geteuid(), 0):
        user = f"the user with ID {os.geteuid()}, who runs this"
        raise KeyUnusable(f"the network key {path} belongs to the user with ID {status.st_uid}: give it to {user}")
    exposed = status.st_mode & 0o077
    if _is_credential(path, environ):
        exposed &= ~0o040  # systemd grants one user access by a list, which the mode shows here
    if exposed:
        raise KeyUnusable(f"the network key {path} is open to others, mode {status.st_mode & 0o777:04o}: chmod 600 it")


def _is_credential(path: Path, environ: Mapping[str, str]) -> bool:
    """Whether systemd put the file into the directory of this service's credentials."""
    directory = environ.get(CREDENTIALS_VARIABLE, "")
    return directory.startswith("/") and path.resolve().parent == Path(directory).resolve()
