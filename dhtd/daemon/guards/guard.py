"""The guards of one entry: a check, or the processes and connections that hold it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import assert_never

import trio

from dhtd.daemon.guards.judge import Judge, State
from dhtd.daemon.guards.processes import Process
from dhtd.daemon.state.saved import HELD, SavedGuard
from dhtd.service.checks import Check, ExecCheck, HttpCheck, TcpCheck
from dhtd.service.entries import GuardInfo
from dhtd.service.method import Caller

UNGUARDED: GuardInfo = {"guard": None, "state": None, "since_s": None, "message": None}


class Guard(ABC):
    """What `Guards` asks of a guard."""

    def __init__(self) -> None:
        self.scopes: list[trio.CancelScope] = []  # of the tasks that work for it
        self.refusal = ""  # the reason, if the node has no room for the entry

    @property
    @abstractmethod
    def is_good(self) -> bool:
        """Whether the entry is to be published."""

    @property
    @abstractmethod
    def is_over(self) -> bool:
        """Whether nothing is left of the entry."""

    @abstractmethod
    def saved(self) -> SavedGuard:
        """Return the guard for the state file."""

    @abstractmethod
    def info(self, now: float) -> GuardInfo:
        """Return the guard for clients."""

    @abstractmethod
    def note_acted(self) -> None:
        """Disk and node agree with the guard, or did a moment ago."""


class Checked(Guard):
    """An entry is published while a check passes."""

    def __init__(self, check: Check, every: float, judge: Judge) -> None:
        super().__init__()
        self.check = check
        self.every = every
        self.judge = judge
        self.decided = trio.Event()  # the first outcome is there, and was acted upon

    @property
    def is_good(self) -> bool:
        return self.judge.is_good

    @property
    def is_over(self) -> bool:
        return False  # only `delete` ends it

    def saved(self) -> SavedGuard:
        return SavedGuard(str(self.check), self.every, self.is_good)

    def info(self, now: float) -> GuardInfo:
        refusal = self.refusal if self.is_good else ""
        return {
            "guard": _kind(self.check),
            "state": (State.WAITING if refusal else self.judge.state).value,
            "since_s": _seconds(now - self.judge.since),
            "message": refusal or self.judge.message,
        }

    def note_acted(self) -> None:
        if self.judge.has_outcome:
            self.decided.set()


class Connected:
    """The connection of a client holds an entry."""

    def __init__(self, caller: Caller) -> None:
        self.caller = caller


Holder = Process | Connected


class Held(Guard):
    """An entry is published while one of these processes and connections is there."""

    def __init__(self, now: float) -> None:
        super().__init__()
        self.holders: dict[Holder, None] = {}
        self.acted = trio.Event()  # set, and replaced
        self._since = now

    @property
    def is_good(self) -> bool:
        return bool(self.holders)

    @property
    def is_over(self) -> bool:
        return not self.holders

    def saved(self) -> SavedGuard:
        return HELD

    def info(self, now: float) -> GuardInfo:
        processes = [f"process {holder.pid}" for holder in self.holders if isinstance(holder, Process)]
        clients = len(self.holders) - len(processes)
        names = [*([f"{clients} {'client' if clients == 1 else 'clients'}"] if clients else []), *processes]
        return {
            "guard": "connection" if clients else "pid",
            "state": "passing",
            "since_s": _seconds(now - self._since),
            "message": f"held by {', '.join(names)}" if names else "the process or client that held it has ended",
        }

    def note_acted(self) -> None:
        self.acted.set()
        self.acted = trio.Event()


def _kind(check: Check) -> str:
    match check:
        case TcpCheck():
            return "tcp"
        case HttpCheck():
            return "http"
        case ExecCheck():
            return "exec"
        case _:
            assert_never(check)


def _seconds(duration: float) -> float:
    return round(max(0.0, duration), 3)
