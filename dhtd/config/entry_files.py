"""Entries that files declare: what the machine serves, kept by its administrator rather than by a command.

A directory has files of any number of entries each:

    [[entry]]
    name = "wiki.example.org"
    port = 8080
    check = "tcp"

A file that is broken, that others could have written, or that contradicts another one is left out as a whole. The
reason names the file and the place in it. All other files count.
"""

from __future__ import annotations

import math
import os
import re
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from dhtd.config.networks import NETWORKS
from dhtd.config.toml_file import SIZE_MAX, parse
from dhtd.config.values import shown
from dhtd.core.endpoint import check_port
from dhtd.core.ids import NATIVE, Id, Keyspace, packed
from dhtd.core.names import clean_name, id_of_name
from dhtd.errors import ConfigError, InvalidId, UsageError

ReadCheck = Callable[[str, float | None], object]

SUFFIX: Final = ".toml"
_HEADER: Final = re.compile(rb"^[ \t]*\[\[[ \t]*entry[ \t]*\]\]", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Declared:
    """One entry as a file declares it."""

    key: Id
    port: int
    name: str | None
    check: object = None  # what the reader of checks has made of it
    place: str = field(default="", compare=False)  # in its file


Said = tuple[Declared, str]  # and the path of its file


@dataclass(frozen=True, slots=True)
class EntryFiles:
    """The entries of a directory, by the paths of their files, and why other files are left out."""

    entries: dict[str, list[Declared]] = field(default_factory=dict)
    broken: dict[str, ConfigError] = field(default_factory=dict)


def read(directory: Path, read_check: ReadCheck, keyspace: Keyspace = NATIVE) -> EntryFiles:
    """Read the files of a directory in the order of their names. One that is missing has none.

    `read_check` makes something of a check and its interval in seconds, if there is one, or raises a `UsageError`. IDs
    are those of a network with this keyspace.
    Raises `ConfigError` if the directory cannot be read, or if others can write it.
    """
    found = EntryFiles()
    try:
        _refuse_unsafe(directory.stat(), f"the directory {directory}")
        files = sorted(file for file in directory.iterdir() if file.suffix == SUFFIX and not file.name.startswith("."))
    except FileNotFoundError:
        return found
    except OSError as error:
        raise ConfigError(f"the directory {directory} cannot be read: {error.strerror}") from None
    seen: dict[bytes, list[Said]] = {}
    for path in map(str, files):
        try:
            entries = _read_file(path, read_check, keyspace)
            _refuse_contradiction(path, entries, seen, keyspace)
        except ConfigError as error:
            found.broken[path] = error
        else:
            found.entries[path] = entries
    return found


def _read_file(path: str, read_check: ReadCheck, keyspace: Keyspace) -> list[Declared]:
    """Return the entries of one file; raise `ConfigError`."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # else a FIFO would have us wait for a writer
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    try:
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode):
            raise ConfigError(f"{path} is not a regular file")
        _refuse_unsafe(status, path)
        with open(file, "rb", closefd=False) as reading:
            data = reading.read(SIZE_MAX + 1)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    finally:
        os.close(file)
    content = parse(data, path)
    unknown = sorted(content.keys() - {"entry"})
    if unknown:
        raise ConfigError(f"{path}: unknown key {shown(unknown[0])}; a file has tables [[entry]]")
    tables = content.get("entry", [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise ConfigError(f"{path}: entry must be an array of tables: write [[entry]]")
    places = _places(data, len(tables))
    return [_entry(table, path, place, read_check, keyspace) for table, place in zip(tables, places, strict=True)]


def _places(data: bytes, count: int) -> list[str]:
    """Return where each entry of a file is: its number, and its line if the file has only plain headers."""
    lines = [data.count(b"\n", 0, found.start()) + 1 for found in _HEADER.finditer(data)]
    if len(lines) != count:
        return [f"entry {number}" for number in range(1, count + 1)]
    return [f"entry {number} (line {line})" for number, line in enumerate(lines, start=1)]


def _entry(table: Mapping[str, Any], path: str, where: str, read_check: ReadCheck, keyspace: Keyspace) -> Declared:
    place = f"{path}, {where}"
    unknown = sorted(table.keys() - _KEYS.keys())
    if unknown:
        raise ConfigError(f"{place}: unknown key {shown(unknown[0])}; the keys are {', '.join(_KEYS)}")
    values: dict[str, Any] = {}
    key: Id | None = None
    for word, value in table.items():
        try:
            values[word] = _KEYS[word](value)
            key = _id(values[word], keyspace) if word == "id" else key
        except UsageError as error:
            raise ConfigError(f"{place}: {word}: {error}") from None
    name: str | None = values.get("name")
    if key is None and name is not None:
        key = id_of_name(name, keyspace)
    if key is None:
        raise ConfigError(f"{place}: it has no name, and no id")
    if "port" not in values:
        raise ConfigError(f"{place}: it has no port")
    if "every" in values and "check" not in values:
        raise ConfigError(f"{place}: every: there is no check that it is for")
    check = None
    if "check" in values:
        try:
            check = read_check(values["check"], values.get("every"))
        except UsageError as error:
            raise ConfigError(f"{place}: check: {error}") from None
    return Declared(key, values["port"], name, check, where)


def _refuse_contradiction(
    path: str, entries: list[Declared], seen: dict[bytes, list[Said]], keyspace: Keyspace
) -> None:
    """Raise if the file declares something otherwise than it did before, or than another file does.

    `seen` has the declarations of other files, by the packed ID. Those of this file are added if they are sound.
    """
    said: dict[bytes, list[Said]] = {}
    for each in entries:
        key = packed(each.key)
        for other, file in (*seen.get(key, ()), *said.get(key, ())):
            where = "above" if file == path else f"in {file}"
            called = each.name or keyspace.format(each.key)
            if each.name != other.name and None not in (each.name, other.name):
                raise ConfigError(f"{path}, {each.place}: the ID of {called} has the name {other.name} {where}")
            if each.port == other.port and each != other:
                raise ConfigError(f"{path}, {each.place}: {called} port {each.port} is declared otherwise {where}")
        said.setdefault(key, []).append((each, path))
    for key, those in said.items():
        seen.setdefault(key, []).extend(those)


def _refuse_unsafe(status: os.stat_result, what: str) -> None:
    """Raise if others can write there: a check may run a command."""
    if status.st_uid not in (os.geteuid(), 0):
        raise ConfigError(
            f"{what} belongs to the user with ID {status.st_uid}, and must belong to root or to the user with ID"
            f" {os.geteuid()}, who runs this"
        )
    if status.st_mode & 0o022:
        raise ConfigError(f"{what} can be written by others, mode {status.st_mode & 0o7777:04o}: chmod go-w it")


# What the keys mean. Each raises a `UsageError`.


def _text(read: Callable[[str], Any]) -> Callable[[object], Any]:
    def check(value: object) -> Any:
        if not isinstance(value, str):
            raise ConfigError(f"must be a string, not {shown(value)}")
        return read(value)

    return check


def _id(text: str, keyspace: Keyspace) -> Id:
    """Return the ID that a text spells; raise `InvalidId`, which says where the ID of another network belongs."""
    try:
        return keyspace.parse(text)
    except InvalidId as error:
        for other in NETWORKS.values():
            if len(text) == 2 * other.keyspace.width != 2 * keyspace.width:
                raise InvalidId(
                    f"{error}: {len(text)} digits are an ID of the {other.name} network, so declare it to a daemon of"
                    " that network (--entries)"
                ) from None
        raise


def _port(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ConfigError(f"must be an integer from 1 to 65535, not {shown(value)}")
    return check_port(value)


def _seconds(value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not (0 < value < math.inf):
        raise ConfigError(f"must be a number of seconds above 0, not {shown(value)}")
    return float(value)


_KEYS: Final[dict[str, Callable[[object], Any]]] = {
    "name": _text(clean_name),
    "id": _text(str),
    "port": _port,
    "check": _text(str),
    "every": _seconds,
}
