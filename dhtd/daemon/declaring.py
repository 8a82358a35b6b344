"""Keeps the entries that files declare: see `dhtd.config.entry_files`.

1. At the start, once the state is restored, and on SIGHUP, the files are read.
2. What a file declares is entered. What a file has made and no file declares any more is deleted.
3. An entry that was made by hand stays as it is, whether or not a file declares it.
4. A file that is broken changes nothing: its entries stay as they were until it is mended.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Final, cast

import trio

from dhtd.config import entry_files
from dhtd.config.entry_files import Declared, EntryFiles
from dhtd.control.threads import in_thread
from dhtd.core.ids import NATIVE, Id, Keyspace
from dhtd.core.records import Peer, RecordKey
from dhtd.daemon.guards import checks
from dhtd.daemon.guards.wanted import Checking
from dhtd.daemon.labels import Label, Labels
from dhtd.daemon.own_entries import OwnEntries, Wanted
from dhtd.errors import ConfigError, DhtdError, InvalidCheck, NoThread, StateError
from dhtd.service.checks import EVERY, EVERY_MAX, EVERY_MIN, parse_check
from dhtd.words import count

READ_WITHIN: Final = 10.0  # seconds until files that do not come are left alone
RETRY: Final = 15.0  # seconds until entries that the disk refused are tried again

log = logging.getLogger("dhtd.entries")

Declarations = Mapping[RecordKey, tuple[Declared, str]]  # and the path of the file


class Declaring:
    """Follows the files, one reading at a time."""

    def __init__(self, own: OwnEntries, labels: Labels, keyspace: Keyspace = NATIVE) -> None:
        self._keyspace = keyspace  # of the network of this daemon
        self._own = own
        self._labels = labels
        self._turn = trio.Lock()
        self._reader = trio.CapacityLimiter(1)

    async def begin(self, restored: trio.Event, directory: Path | None) -> None:
        """Read the files of this directory, once the node has the entries of its last run."""
        await restored.wait()
        await self.read(directory)

    async def read(self, directory: Path | None) -> None:
        """Read the files of this directory, and change the entries by them. Without a directory there are none."""
        async with self._turn:
            try:
                files = EntryFiles() if directory is None else await self._read(directory)
            except ConfigError as error:
                log.error("declared entries are left as they were: %s", error)
                return
            for why in files.broken.values():
                log.error("the entries of this file are left as they were: %s", why)
            while True:
                try:
                    await self._follow(files)
                except StateError as error:
                    log.error("declared entries are not all entered: %s; trying again in %.0f s", error, RETRY)
                    await trio.sleep(RETRY)
                except DhtdError as error:
                    log.error("declared entries are not all entered: %s", error)
                    return
                else:
                    return

    async def _read(self, directory: Path) -> EntryFiles:
        """Read in a thread: the directory may be on a disk that hangs."""

        def read() -> EntryFiles:
            return entry_files.read(directory, read_check, self._keyspace)

        try:
            with trio.fail_after(READ_WITHIN):
                return await in_thread(read, self._reader, may_be_left=True)
        except NoThread:
            return read()
        except trio.TooSlowError:
            raise ConfigError(f"the directory {directory} cannot be read within {READ_WITHIN:.0f} s") from None

    async def _follow(self, files: EntryFiles) -> None:
        """Delete what no file declares any more, and enter what is new."""
        labels, declared = self._labels, _declared(files)
        made = dict(labels.made_by_files())
        kept = {each: file for each, file in {**made, **labels.declared}.items() if file in files.broken}
        gone = [each for each in made if each not in declared and each not in kept]
        if gone:
            names = [self._called(each.key, labels.of(each).name) for each in gone]
            await self._own.remove(gone)
            for record_key, name in zip(gone, names, strict=True):
                log.info("%s no longer declares %s port %d: deleted it", made[record_key], name, record_key.port)
        wanted = [self._wanted(record_key, *said) for record_key, said in declared.items()]
        new = [each for each in wanted if each is not None]
        if new:
            await self._own.track(new)
            for each in new:
                log.info("%s declares %s port %d", each.file, self._called(each.key, each.name), each.port)
        labels.declared = {**kept, **{record_key: file for record_key, (_, file) in declared.items()}}
        if labels.declared or gone:
            known = count(len(labels.declared), "entry")
            log.info("files declare %s: %d changed, %d no longer declared", known, len(new), len(gone))

    def _called(self, key: Id, name: str | None) -> str:
        return self._keyspace.format(key) if name is None else name

    def _wanted(self, record_key: RecordKey, declared: Declared, file: str) -> Wanted | None:
        """Return what is to change so that an entry is as it is declared; None if nothing is."""
        label = self._labels.of(record_key)
        check = cast("Checking | None", declared.check)
        wanted = Wanted(declared.key, declared.port, declared.name, file, check)
        if not self._own.has(record_key):
            return wanted
        if label.file is None:
            return None  # made by hand
        is_same = label == Label(declared.name or label.name, file) and self._own.is_guarded(record_key, check)
        return None if is_same else wanted


def read_check(text: str, every: float | None) -> Checking:
    """Return the check that a file declares; raise a `UsageError`."""
    check = parse_check(text)
    checks.verify(check)
    seconds = EVERY if every is None else every
    if not EVERY_MIN <= seconds <= EVERY_MAX:
        raise InvalidCheck(f"every {seconds:g} s is too often or too seldom: {EVERY_MIN:g} to {EVERY_MAX:g} s")
    return Checking(check, seconds)


def _declared(files: EntryFiles) -> Declarations:
    """Return the declarations of all sound files; where two are alike, that of the first file."""
    found: dict[RecordKey, tuple[Declared, str]] = {}
    for file, entries in files.entries.items():
        for each in entries:
            found.setdefault(RecordKey.of(each.key, Peer.on(each.port)), (each, file))
    return found
