"""Serves the method doctor: looks at one thing after the other, tells each, and ends in a verdict."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from typing import Final

import trio

from dhtd import __version__
from dhtd.control.threads import in_thread
from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import Id
from dhtd.daemon.canary import Canary
from dhtd.daemon.doctor.address import AddressSteps
from dhtd.daemon.doctor.entry import EntrySteps
from dhtd.daemon.doctor.finding import Finding, bad, good, note, worst
from dhtd.daemon.doctor.holders import ask_holders
from dhtd.daemon.doctor.machine import Machine
from dhtd.daemon.doctor.network import NetworkSteps
from dhtd.daemon.doctor.spelling import Spelling, similar
from dhtd.daemon.driver import Driver
from dhtd.daemon.guards.guards import Guards
from dhtd.daemon.handlers.calls import Call, Handlers, stream
from dhtd.daemon.report import NodeReport
from dhtd.errors import Busy
from dhtd.service.doctor import DOCTOR, DoctorRequest, DoctorResult, DoctorStep
from dhtd.service.method import Emit
from dhtd.words import count, duration

AT_ONCE: Final = 4  # diagnoses
ENTRIES_MAX: Final = 8  # IDs that are looked at where none is asked for
CANARY_WITHIN: Final = 10.0  # seconds
SERVED_MAX: Final = 20  # endpoints in a result


class Doctor(Handlers):
    """Diagnoses one node."""

    def __init__(
        self,
        driver: Driver,
        guards: Guards,
        report: NodeReport,
        canary: Canary,
        hosts: Callable[[], Sequence[str]],
        machine: Machine,
    ) -> None:
        super().__init__(driver)
        self._report = report
        self._at_once = trio.Semaphore(AT_ONCE)
        self._canary = canary
        self._network = NetworkSteps(driver, machine, hosts)
        self._address = AddressSteps(driver, machine)
        self._entries = EntrySteps(driver, guards, machine)

    def calls(self) -> tuple[Call, ...]:
        return (stream(DOCTOR, self._doctor),)

    async def _doctor(self, request: DoctorRequest, emit: Emit[DoctorStep]) -> DoctorResult:
        """Diagnose; raise `Busy` if others do so, since each diagnosis connects to several ports."""
        try:
            self._at_once.acquire_nowait()
        except trio.WouldBlock:
            raise Busy(f"{AT_ONCE} clients ask for a diagnosis already: try again in a moment") from None
        try:
            return await self._diagnose(request, emit)
        finally:
            self._at_once.release()

    async def _diagnose(self, request: DoctorRequest, emit: Emit[DoctorStep]) -> DoctorResult:
        findings: list[Finding] = []
        served: list[Endpoint] = []
        async for finding in self._steps(request, served):
            findings.append(finding)
            await emit(finding.told())
        fault = worst(findings)
        return {
            "id": None if request.id is None else self.format(request.id),
            "name": None if request.id is None else self._spelling(request.id, request.name).name,
            "healthy": fault is None,
            "fault": None if fault is None else fault.fault,
            "verdict": self._all_is_well(request, findings) if fault is None else fault.message,
            "command": None if fault is None else fault.command,
            "steps": [each.told() for each in findings],
            "served": sorted(map(self.text, served))[:SERVED_MAX],
            "version": __version__,
        }

    async def _steps(self, request: DoctorRequest, served: list[Endpoint]) -> AsyncIterator[Finding]:
        yield self._daemon()
        for finding in self._state():
            yield finding
        async for finding in self._network.steps():
            yield finding
        for finding in self._address.steps():
            yield finding
        is_joined = self._network.is_joined
        keys = await self._entries.own_keys() if request.id is None else [request.id]
        for key in keys[:ENTRIES_MAX]:
            spelling = self._spelling(key, request.name)
            if self._entries.own_ports(key):
                async for finding in self._entries.steps(key, spelling, is_joined=is_joined):
                    yield finding
            elif is_joined:
                yield await self._of_others(key, spelling, served)
        if len(keys) > ENTRIES_MAX:
            yield note("entry", f"{ENTRIES_MAX} of {count(len(keys), 'ID')} of this machine were looked at")
        if not keys and is_joined:
            yield await self._outside()

    def _spelling(self, key: Id, name: str | None) -> Spelling:
        return Spelling(self.format(key), name or self._driver.labels.name(key))

    def _daemon(self) -> Finding:
        status = self._report.status()
        since = duration(status["uptime_s"])
        message = f"dhtd {status['version']} runs for {since}, in the {status['network']} network"
        return good("daemon", message)

    def _state(self) -> list[Finding]:
        """Tell what was wrong with the state file at the start."""
        if self._report.is_restoring():
            return [note("state", "entries are still being read from the state file")]
        notices = self._report.state_notices()
        if not notices:
            return [good("state", "the state file was whole")]
        return [bad("state", "state-damaged", notice, "dht info tracking") for notice in notices]

    async def _of_others(self, key: Id, spelling: Spelling, served: list[Endpoint]) -> Finding:
        """Tell who serves an ID that this machine has not entered."""
        heard = await ask_holders(self._driver, key)
        if heard.named:
            served.extend(heard.named)
            nodes = count(holders := heard.holders(set(heard.named)), "node")
            served_at = (
                "another node serves" if len(heard.named) == 1 else f"others serve at {len(heard.named)} endpoints"
            )
            return good("entry", f"{nodes} {'holds' if holders == 1 else 'hold'} {spelling}, which {served_at}")
        if not heard.answered:
            message = f"the nodes near {spelling} do not answer, so whether somebody serves it is not known"
            return bad("entry", "unanswered", message, "dht status")
        own = self._node.values.own.get(key)
        if own is not None:
            return good("entry", f"{spelling} is a value that this node keeps, on {count(len(own.replicas), 'node')}")
        answered = f"{count(len(heard.answered), 'node')} near it answered"
        message = f"nobody has entered {spelling}, and this machine has not either: {answered}"
        if not heard.is_complete and not self._node.codec.traits.is_public:
            message = f"nobody was found who has entered {spelling}, but not all nodes near it answered"
        if spelling.name is None:
            message += ". Under an ID, there may also be a value"
            return bad("entry", "not-entered", message, f"dht get {spelling.id}")
        names = [name for _, name in self._driver.labels.names()]
        other = await in_thread(partial(similar, spelling.name, names)) if names else None
        if other is None:
            return bad("entry", "not-entered", message, f"dht enter {spelling.argument()} PORT")
        message += f". This machine has entered {other}"
        return bad("entry", "not-entered", message, f"dht lookup {Spelling('', other).argument()}")

    async def _outside(self) -> Finding:
        """Look for the canary, through other nodes."""
        await self._canary.look_within(CANARY_WITHIN)
        look = self._canary.last
        if look is not None and look.holders:
            return good("outside", f"{count(look.holders, 'other node')} gave what this node has entered, as a test")
        if self._canary.is_healthy:
            return note("outside", "other nodes have given what this node entered a minute ago, but not just now")
        if look is None:
            return note("outside", "whether other nodes find what this one enters is not known yet: the test goes on")
        message = f"{count(look.answered, 'other node')} answered, and none gave what this node has entered as a test"
        return bad("outside", "unseen", message, "dht health")

    def _all_is_well(self, request: DoctorRequest, findings: Sequence[Finding]) -> str:
        """Return the verdict without a fault: what was found of the ID, or of the whole."""
        entries = [each for each in findings if each.step == "entry"]
        if request.id is not None:
            return f"nothing is wrong: {'; '.join(each.message for each in entries)}"
        held = [each for each in entries if each.is_good]
        told = f"{count(len(held), 'entry')} of this machine {'is' if len(held) == 1 else 'are'} held" if held else ""
        outside = [each.message for each in findings if each.step == "outside"]
        network = next((each.message for each in findings if each.step == "network"), "")
        return f"nothing is wrong: {'; '.join(filter(None, [network, told, *outside]))}"
