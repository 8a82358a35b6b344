"""A disk for state files that notes the steps of SQLite, and makes the remains of a crash from them.

`recorded` puts itself between SQLite, the very library that `sqlite3` uses, and SQLite's own layer for the operating
system. Files are real and everything works as always, but each write, truncation, sync, creation and deletion is noted,
and a sync does not wait. From the notes come the directories that a crash can leave behind:

- `killed`: the process dies, the machine does not. Everything handed to the kernel is there, in its order; of the last
  write, maybe only the first bytes.
- `powerless`: the power fails. Synced data is there; of all other data, any sectors, in any order. A file may be there
  or not if its creation or removal was not synced: SQLite syncs the directory with the first sync of a new journal, and
  at a removal if it asks for that. Not modelled: a sector with neither its old nor its new bytes, and a disk that lies
  about a sync.
"""

from __future__ import annotations

import _sqlite3
import ctypes
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ctypes import CFUNCTYPE, POINTER, c_char_p, c_int, c_int64, c_void_p
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

Directory = dict[str, bytes]  # the contents of the files in it, by their names

SECTOR = 512


@dataclass(frozen=True, slots=True)
class Create:
    """A file was opened, and made if it was missing."""

    name: str


@dataclass(frozen=True, slots=True)
class Write:
    """Bytes were written."""

    name: str
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Truncate:
    """A file was cut."""

    name: str
    size: int


@dataclass(frozen=True, slots=True)
class Sync:
    """A file was synced: what was done to it before is on the disk."""

    name: str


@dataclass(frozen=True, slots=True)
class Delete:
    """A file was removed; `synced`: and its directory synced."""

    name: str
    synced: bool


Step = Create | Write | Truncate | Sync | Delete


# The remains of a crash


def killed(before: Directory, steps: list[Step], written: int | None = None) -> Directory:
    """Return the files after these steps; `written`: only this many bytes of the last one, which is a write."""
    files = dict(before)
    for step in steps[:-1] if written is not None else steps:
        _do(files, step)
    if written is not None:
        last = steps[-1]
        assert isinstance(last, Write)
        _do(files, Write(last.name, last.offset, last.data[:written]))
    return files


def powerless(before: Directory, steps: list[Step], chance: float, rng: Random) -> Directory:
    """Return the files after these steps and a power failure that each unsynced sector survives with this chance."""
    machine = _Disk(before)
    for step in steps:
        machine.take(step)
    return machine.fail(chance, rng)


class _Disk:
    """The disk's content, and the data still held back by the kernel. A file is a number, since names come and go."""

    def __init__(self, before: Directory) -> None:
        self.contents = dict(enumerate(before.values()))
        self.unsynced: dict[int, list[Step]] = {file: [] for file in self.contents}
        self.names: dict[str, list[int | None]] = {name: [file] for file, name in enumerate(before)}  # the latest last
        self.unlisted: set[int] = set()  # new files; with their first sync SQLite syncs the directory, too

    def take(self, step: Step) -> None:
        """Take a step of SQLite."""
        match step:
            case Create(name):
                if self.names.get(name, [None])[-1] is None:
                    self.unlisted.add(self._file(name))
            case Write() | Truncate():
                self.unsynced[self._file(step.name)] += _sectors(step)
            case Sync(name):
                file = self._file(name)
                self.contents[file] = _after(self.contents[file], self.unsynced[file])
                self.unsynced[file] = []
                if file in self.unlisted:
                    self._sync_directory()
            case Delete(name, synced):
                self.names[name].append(None)
                if synced:
                    self._sync_directory()

    def fail(self, chance: float, rng: Random) -> Directory:
        """Return the content after the failure."""
        left: Directory = {}
        for name, files in self.names.items():
            is_latest = rng.random() < chance
            file = files[-1] if is_latest else files[0] if not chance else rng.choice(files)
            if file is not None:
                survivors = [step for step in self.unsynced[file] if rng.random() < chance]
                left[name] = _after(self.contents[file], survivors)
        return left

    def _file(self, name: str) -> int:
        """Return the file with this name now, and make it if it is missing."""
        file = self.names.setdefault(name, [None])[-1]
        if file is None:
            file = len(self.contents)
            self.contents[file], self.unsynced[file] = b"", []
            self.names[name].append(file)
        return file

    def _sync_directory(self) -> None:
        self.names = {name: files[-1:] for name, files in self.names.items()}
        self.unlisted.clear()


def _sectors(step: Write | Truncate) -> list[Step]:
    """Return a write as one write for each sector."""
    if isinstance(step, Truncate):
        return [step]
    first = SECTOR - step.offset % SECTOR
    places = [0, *range(first, len(step.data), SECTOR), len(step.data)]
    return [Write(step.name, step.offset + start, step.data[start:end]) for start, end in pairwise(places)]


def _after(content: bytes, steps: list[Step]) -> bytes:
    """Return the content of a file after its own steps."""
    files = {step.name: content for step in steps}
    for step in steps:
        _do(files, step)
    return files[steps[0].name] if steps else content


def _do(files: Directory, step: Step) -> None:
    match step:
        case Create(name):
            files.setdefault(name, b"")
        case Write(name, offset, data):
            content = files.get(name, b"").ljust(offset, b"\0")
            files[name] = content[:offset] + data + content[offset + len(data) :]
        case Truncate(name, size):
            files[name] = files.get(name, b"")[:size]
        case Delete(name):
            files.pop(name, None)
        case Sync():
            pass


def read_directory(path: Path) -> Directory:
    """Return the files on the real disk."""
    return {entry.name: entry.read_bytes() for entry in path.iterdir()}


def write_directory(path: Path, files: Directory) -> Path:
    """Make a directory with these files."""
    path.mkdir(mode=0o700)
    for name, content in files.items():
        (path / name).write_bytes(content)
    return path


# Between SQLite and the operating system (https://www.sqlite.org/vfs.html)

_OK, _OPEN_CREATE = 0, 4
_IOERR = 10


class _Methods(ctypes.Structure):
    """SQLite's calls for one open file: struct sqlite3_io_methods."""


class _File(ctypes.Structure):
    """Struct sqlite3_file, the part that all of them share."""

    _fields_ = (("methods", POINTER(_Methods)),)


class _Vfs(ctypes.Structure):
    """SQLite's other calls: struct sqlite3_vfs."""


_X_WRITE = CFUNCTYPE(c_int, POINTER(_File), c_void_p, c_int, c_int64)
_X_TRUNCATE = CFUNCTYPE(c_int, POINTER(_File), c_int64)
_X_SYNC = CFUNCTYPE(c_int, POINTER(_File), c_int)
_X_OPEN = CFUNCTYPE(c_int, POINTER(_Vfs), c_void_p, POINTER(_File), c_int, POINTER(c_int))
_X_DELETE = CFUNCTYPE(c_int, POINTER(_Vfs), c_char_p, c_int)

_Methods._fields_ = (
    ("version", c_int),
    ("close", c_void_p),
    ("read", c_void_p),
    ("write", _X_WRITE),
    ("truncate", _X_TRUNCATE),
    ("sync", _X_SYNC),
    ("others", c_void_p * 12),
)
_Vfs._fields_ = (
    ("version", c_int),
    ("file_size", c_int),
    ("path_max", c_int),
    ("next", c_void_p),
    ("name", c_char_p),
    ("data", c_void_p),
    ("open", _X_OPEN),
    ("delete", _X_DELETE),
    ("others", c_void_p * 14),
)


class _Recorder:
    """A copy of SQLite's default layer, with our own calls for changes of files, which pass them on."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self.steps: list[Step] = []
        self.refused = 0  # steps since `failing` began
        self.refuses: Callable[[int], bool] = lambda number: False
        self.register = library.sqlite3_vfs_register
        self.register.argtypes = (POINTER(_Vfs), c_int)
        find = library.sqlite3_vfs_find
        find.argtypes, find.restype = (c_char_p,), POINTER(_Vfs)
        self.real = find(None)
        self.vfs = self._changed(_Vfs, self.real.contents, open=_X_OPEN(self._open), delete=_X_DELETE(self._delete))
        self.vfs.name = b"recorder"
        self._methods: dict[int, tuple[_Methods, _Methods]] = {}  # theirs and ours, by the address of theirs
        self._files: dict[int, tuple[str, _Methods]] = {}  # by the address of the file

    @staticmethod
    def _changed(kind: type[Any], original: Any, **functions: object) -> Any:
        copy = kind.from_buffer_copy(original)
        for name, function in functions.items():
            setattr(copy, name, function)
        return copy

    def _open(self, vfs: Any, name: int | None, file: Any, flags: int, out: Any) -> int:
        code: int = self.real.contents.open(vfs, name, file, flags, out)
        if code != _OK or name is None or not file.contents.methods:
            return code
        path = Path(ctypes.string_at(name).decode("utf-8", "surrogateescape"))
        address = ctypes.cast(file.contents.methods, c_void_p).value
        assert address is not None
        if address not in self._methods:
            theirs = file.contents.methods.contents
            ours = self._changed(
                _Methods,
                theirs,
                write=_X_WRITE(self._write),
                truncate=_X_TRUNCATE(self._truncate),
                sync=_X_SYNC(self._sync),
            )
            self._methods[address] = theirs, ours
        theirs, ours = self._methods[address]
        file.contents.methods = ctypes.pointer(ours)
        self._files[ctypes.addressof(file.contents)] = path.name, theirs
        if flags & _OPEN_CREATE:
            self.steps.append(Create(path.name))
        return code

    def _fails(self) -> bool:
        """Whether the disk fails at this step, the next one since `failing` began."""
        number, self.refused = self.refused, self.refused + 1
        return self.refuses(number)

    def _delete(self, vfs: Any, name: bytes, sync_directory: int) -> int:
        if self._fails():
            return _IOERR
        code: int = self.real.contents.delete(vfs, name, 0)
        if code == _OK:
            self.steps.append(Delete(Path(name.decode("utf-8", "surrogateescape")).name, bool(sync_directory)))
        return code

    def _write(self, file: Any, data: int, size: int, offset: int) -> int:
        if self._fails():
            return _IOERR
        name, theirs = self._files[ctypes.addressof(file.contents)]
        self.steps.append(Write(name, offset, ctypes.string_at(data, size)))
        return int(theirs.write(file, data, size, offset))

    def _truncate(self, file: Any, size: int) -> int:
        if self._fails():
            return _IOERR
        name, theirs = self._files[ctypes.addressof(file.contents)]
        self.steps.append(Truncate(name, size))
        return int(theirs.truncate(file, size))

    def _sync(self, file: Any, flags: int) -> int:
        if self._fails():
            return _IOERR
        name, _ = self._files[ctypes.addressof(file.contents)]
        self.steps.append(Sync(name))
        return _OK


def _load() -> _Recorder | None:
    """Return the recorder; None if this Python hides its SQLite."""
    try:
        library = ctypes.CDLL(getattr(_sqlite3, "__file__", None))
        version: Callable[[], bytes] = library.sqlite3_libversion
        version.restype = c_char_p  # type: ignore[attr-defined]
        if version().decode() != sqlite3.sqlite_version:
            return None  # another copy of the library than `sqlite3` uses
        return _Recorder(library)
    except (OSError, AttributeError):
        return None


RECORDER = _load()  # for good: open files point to it


@contextmanager
def recorded() -> Iterator[list[Step]]:
    """Have SQLite's steps noted, for all files that are opened within the context; close them within it, too."""
    assert RECORDER is not None
    RECORDER.steps.clear()
    RECORDER.register(RECORDER.vfs, 1)
    try:
        yield RECORDER.steps
    finally:
        RECORDER.register(RECORDER.real, 1)
        RECORDER.steps.clear()


@contextmanager
def failing(refuses: Callable[[int], bool]) -> Iterator[None]:
    """Within `recorded`, have the disk fail with an I/O error at the refused steps, by number from 0 on."""
    assert RECORDER is not None
    RECORDER.refused, RECORDER.refuses = 0, refuses
    try:
        yield
    finally:
        RECORDER.refuses = lambda number: False


def steps_taken() -> int:
    """Return the number of steps since `failing` began, failed ones included."""
    assert RECORDER is not None
    return RECORDER.refused
