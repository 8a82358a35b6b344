"""The guards of all entries, and what they do: they enter and withdraw, on disk and in the node.

Each entry has one guard at most. A guard only says whether its entry is to be published (`is_good`), and whether
nothing of it is left (`is_over`). `_act` makes disk and node agree with that, under the lock of all own entries, and
tries again until the disk takes it. So a change that comes meanwhile is never lost, and never made twice.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import islice
from typing import Final

import trio

from dhtd.core.ids import Id, packed
from dhtd.core.records import RecordKey
from dhtd.daemon.defects import Pause
from dhtd.daemon.driver import Driver, Ongoing
from dhtd.daemon.guards import checks
from dhtd.daemon.guards.guard import UNGUARDED, Checked, Connected, Guard, Held, Holder
from dhtd.daemon.guards.judge import Judge
from dhtd.daemon.guards.outcome import Outcome
from dhtd.daemon.guards.processes import Process
from dhtd.daemon.guards.wanted import Checking, WantedGuard
from dhtd.daemon.state.saved import HELD, SavedGuard
from dhtd.daemon.state.saver import Saver
from dhtd.errors import Busy, StateError, TooManyEntries
from dhtd.service.checks import Check, parse_check
from dhtd.service.entries import GuardInfo

CHECKS_MAX: Final = 4096  # entries with checks
CHECKS_AT_ONCE: Final = 64
PROCESSES_MAX: Final = 512  # that hold entries, with a descriptor each
SPREAD_MAX: Final = 5.0  # seconds over which the first checks after a start are spread
ACTED_AT_ONCE: Final = 256  # entries; meanwhile no other one can be entered

Make = Callable[[Check, str, int, float], Awaitable[Outcome]]  # see `checks.make`

log = logging.getLogger("dhtd.guards")


class Guards:
    """The guards, by entry. `saver.restore` comes first."""

    def __init__(
        self, driver: Driver, saver: Saver, make: Make = checks.make, spread: Callable[[], float] = random.random
    ) -> None:
        self._driver = driver
        self._node = driver.node
        self._saver = saver
        self._make = make
        self._spread = spread
        self._guards: dict[RecordKey, Guard] = {}
        self._ports: dict[bytes, set[int]] = {}  # of the same, by packed key
        self._marked: dict[RecordKey, None] = {}  # entries to act upon
        self._has_marked = trio.Event()
        self._limiter = trio.CapacityLimiter(CHECKS_AT_ONCE)
        self._nursery: trio.Nursery | None = None  # while `run` runs
        now = driver.clock()
        for record_key, saved in saver.guards.items():
            judge = Judge(now, is_published=saved.passed)
            self._put(record_key, Checked(parse_check(saved.what), saved.every, judge))

    async def run(self) -> None:
        """Check, watch and act, until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            try:
                for record_key, guard in self._guards.items():
                    self._begin(record_key, guard, self._spread())
                await self._act_on_marked()
            finally:
                self._nursery = None

    # Asking

    def __contains__(self, record_key: RecordKey) -> bool:
        """Whether an entry has a guard."""
        return record_key in self._guards

    def info(self, record_key: RecordKey) -> GuardInfo:
        """Return the guard of an entry, as clients see it."""
        guard = self._guards.get(record_key)
        return UNGUARDED if guard is None else guard.info(self._driver.clock())

    def withheld(self) -> Iterator[RecordKey]:
        """Yield the entries that their guards keep from being published. Others may change them meanwhile."""
        tracker = self._node.own_records
        return (each for each in list(self._guards) if each in self._guards and each not in tracker)

    def ports(self, key: Id) -> set[int]:
        """Return the ports of an ID with guarded entries."""
        return self._ports.get(packed(key), set())

    def saved(self, record_key: RecordKey) -> SavedGuard | None:
        """Return the guard of an entry, for the disk."""
        guard = self._guards.get(record_key)
        return None if guard is None else guard.saved()

    # Changing. The caller has the lock of own entries, and has written `saved_as` to disk, or is about to.

    def check_room(self, record_key: RecordKey, wanted: WantedGuard | None) -> None:
        """Raise `TooManyEntries` or `Busy` if an entry cannot have such a guard."""
        guards = self._guards.values()
        if isinstance(wanted, Checking) and not isinstance(self._guards.get(record_key), Checked):
            many = sum(isinstance(guard, Checked) for guard in guards)
            if many >= CHECKS_MAX:
                raise TooManyEntries(f"this node checks as many entries as it can ({many}): delete some")
        if isinstance(wanted, Process):
            many = sum(
                isinstance(each, Process) for guard in guards if isinstance(guard, Held) for each in guard.holders
            )
            if many >= PROCESSES_MAX:
                raise Busy(f"as many entries as can be are held by processes ({many}): use --check")
        if isinstance(wanted, Connected):
            wanted.caller.attach(partial(self.leave, record_key, wanted))

    def saved_as(self, record_key: RecordKey, wanted: WantedGuard | None) -> SavedGuard | None:
        """Return the guard that an entry is to have, for the disk."""
        if wanted is None:
            return None
        if isinstance(wanted, Checking):
            return SavedGuard(str(wanted.check), wanted.every, record_key in self._node.own_records)
        return HELD

    def set(self, record_key: RecordKey, wanted: WantedGuard | None) -> Checked | None:
        """Give an entry its guard, in place of the one that it had; return it if it is a check.

        Processes and connections join those that are there, and the same check goes on.
        """
        if wanted is None:
            self.drop([record_key])
            return None
        if isinstance(wanted, Checking):
            return self._check(record_key, wanted)
        self._hold(record_key, wanted)
        return None

    def drop(self, record_keys: Iterable[RecordKey]) -> None:
        """Leave entries without guards."""
        for record_key in record_keys:
            guard = self._pop(record_key)
            if guard is not None:
                for scope in guard.scopes:
                    scope.cancel()
                guard.note_acted()

    async def leave(self, record_key: RecordKey, holder: Holder) -> None:
        """A holder has ended: return when its entry is withdrawn, or held by others."""
        guard = self._guards.get(record_key)
        if isinstance(guard, Held) and holder in guard.holders:
            del guard.holders[holder]
            self._mark(record_key)
            await guard.acted.wait()

    def _check(self, record_key: RecordKey, wanted: Checking) -> Checked:
        guard = self._guards.get(record_key)
        if isinstance(guard, Checked) and (guard.check, guard.every) == wanted:
            return guard
        self.drop([record_key])
        judge = Judge(self._driver.clock(), is_published=record_key in self._node.own_records)
        checked = Checked(*wanted, judge)
        self._put(record_key, checked)
        self._begin(record_key, checked)
        return checked

    def _hold(self, record_key: RecordKey, holder: Holder) -> None:
        guard = self._guards.get(record_key)
        if not isinstance(guard, Held):
            self.drop([record_key])
            guard = Held(self._driver.clock())
            self._put(record_key, guard)
        guard.holders[holder] = None
        if isinstance(holder, Process):
            self._start(guard, partial(self._watch, record_key, holder))

    def _put(self, record_key: RecordKey, guard: Guard) -> None:
        self._guards[record_key] = guard
        self._ports.setdefault(record_key.packed_key, set()).add(record_key.port)

    def _pop(self, record_key: RecordKey) -> Guard | None:
        guard = self._guards.pop(record_key, None)
        if guard is not None:
            ports = self._ports[record_key.packed_key]
            ports.remove(record_key.port)
            if not ports:
                del self._ports[record_key.packed_key]
        return guard

    # Tasks

    def _begin(self, record_key: RecordKey, guard: Guard, spread: float = 0.0) -> None:
        """Start the tasks of a guard; the first check comes after a part of `SPREAD_MAX`, or of its interval."""
        if isinstance(guard, Checked):
            delay = spread * min(guard.every, SPREAD_MAX)
            self._start(guard, partial(self._keep_checking, record_key, guard, delay))
        elif isinstance(guard, Held):
            for holder in guard.holders:
                if isinstance(holder, Process):
                    self._start(guard, partial(self._watch, record_key, holder))

    def _start(self, guard: Guard, work: Callable[[], Awaitable[None]]) -> None:
        if self._nursery is None:
            return  # `run` starts it
        scope = trio.CancelScope()
        guard.scopes.append(scope)

        async def within() -> None:
            try:
                with scope:
                    await work()
            finally:
                guard.scopes.remove(scope)

        self._nursery.start_soon(within)

    async def _keep_checking(self, record_key: RecordKey, guard: Checked, delay: float) -> None:
        id, port = self._node.codec.traits.keyspace.format(record_key.key), record_key.port
        await trio.sleep(delay)
        while True:
            async with self._limiter:
                began = trio.current_time()
                try:
                    outcome = await self._make(guard.check, id, port, guard.every)
                except Exception:  # noqa: BLE001 - noted
                    self._driver.defects.note("a check could not be made")
                    outcome = Outcome(False, "a defect in dhtd; its log has the details")
            guard.judge.take(outcome, self._driver.clock())
            if not guard.decided.is_set() or guard.is_good != (record_key in self._node.own_records):
                self._mark(record_key)
            await trio.sleep_until(began + guard.every)

    async def _watch(self, record_key: RecordKey, process: Process) -> None:
        try:
            await process.ended()
        finally:
            process.close()
        await self.leave(record_key, process)

    # Acting

    def _mark(self, record_key: RecordKey) -> None:
        self._marked[record_key] = None
        self._has_marked.set()

    async def _act_on_marked(self) -> None:
        """Act upon marked entries, some at a time. What fails stays marked."""
        pause = Pause(self._driver.clock)
        while True:
            await self._has_marked.wait()
            some = list(islice(self._marked, ACTED_AT_ONCE))
            try:
                await self._act(some)
            except StateError as error:
                log.error("what guards say of entries cannot be written, and is tried again: %s", error)
                await trio.sleep(pause.next())
            if not self._marked:
                self._has_marked = trio.Event()

    async def _act(self, some: Iterable[RecordKey]) -> None:
        async with self._saver.own_entries:
            # 1. From here on, a change marks its entry anew.
            guards = {each: self._guards[each] for each in some if each in self._guards}
            await self._saver.bring({record_key.key for record_key in guards})
            for record_key in some:
                self._marked.pop(record_key, None)
            # 2. Which entries are over, and which are published against the word of their guard, or are not?
            tracker = self._node.own_records
            over = [each for each, guard in guards.items() if guard.is_over]
            changed = {
                each: guard.saved()
                for each, guard in guards.items()
                if not guard.is_over and guard.is_good != (each in tracker) and self._has_room(each, guard)
            }
            # 3. The disk first, as everywhere, and then the node.
            with trio.CancelScope(shield=True):
                try:
                    await self._write(over, changed)
                except StateError:
                    self._marked.update(dict.fromkeys(guards))
                    raise
                for record_key in over:
                    self._pop(record_key)
                    self._withdraw(record_key, guards.pop(record_key))
                self._driver.labels.forget(over)
                for record_key, saved in changed.items():
                    if not saved.passed:
                        self._withdraw(record_key, guards.pop(record_key))
                    elif self._has_room(record_key, guards[record_key]):  # the one before may have got the last place
                        self._enter(record_key)
            # 4. Tell those that wait. A withdrawal tells when it is over.
            for guard in guards.values():
                guard.note_acted()

    def _has_room(self, record_key: RecordKey, guard: Guard) -> bool:
        """Whether the node takes the entry, if that is what the guard says."""
        before, guard.refusal = guard.refusal, ""
        if guard.is_good:
            try:
                self._node.commands.check_room(record_key)
            except TooManyEntries as error:
                guard.refusal = str(error)
                if guard.refusal != before:  # the next check would say it again
                    log.warning("%s cannot be entered: %s", self._driver.labels.text(record_key), error)
        return not guard.refusal

    async def _write(self, over: Sequence[RecordKey], changed: Mapping[RecordKey, SavedGuard]) -> None:
        if over:
            await self._saver.remove_own(self._node, over)
        if changed:
            await self._saver.set_guards(self._node, changed)

    def _enter(self, record_key: RecordKey) -> None:
        key, port = record_key.key, record_key.port
        log.info("%s passes its check, and is entered", self._driver.labels.text(record_key))
        with self._driver.begin(lambda now: self._node.commands.enter(key, port, now)):
            pass  # nobody waits

    def _withdraw(self, record_key: RecordKey, guard: Guard) -> None:
        """Withdraw an entry, if it is published, and note when that is over."""
        key, port = record_key.key, record_key.port
        if record_key not in self._node.own_records:
            guard.note_acted()
            return
        why = guard.info(self._driver.clock())["message"]
        log.info("%s is withdrawn: %s", self._driver.labels.text(record_key), why)
        withdrawal = self._driver.begin(lambda now: self._node.commands.delete(key, port, now)[0])
        assert self._nursery is not None
        self._nursery.start_soon(_see_off, withdrawal, guard)


async def _see_off(withdrawal: Ongoing, guard: Guard) -> None:
    with withdrawal, suppress(trio.EndOfChannel):
        await withdrawal.event()
    guard.note_acted()
