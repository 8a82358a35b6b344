"""A plugin of pytest for the runs over faults: it reports the first failure, and tests that take so long that they
hang.

Loaded by its name in its own process, before anything of the checkout is imported.
"""

from __future__ import annotations

import json
import os
import resource
import signal
from pathlib import Path
from typing import NoReturn

import pytest

HANGS = 90  # the exit status of a run in which a test hung
MEMORY = 4 << 30  # bytes; a fault may take all memory


class Watch:
    """Records failures and the time of each test, and ends the run when a test takes too long."""

    def __init__(self, verdict: Path, times: Path, patience: float, root: Path) -> None:
        self._verdict = verdict
        self._patience = patience
        self._times = times
        self._root = root
        self._expected: dict[str, float] = json.loads(times.read_text()) if times.exists() else {}
        self._taken: dict[str, float] = {}
        self._running = ""

    def pytest_configure(self, config: pytest.Config) -> None:
        if config.pluginmanager.hasplugin("hypothesispytest"):
            from hypothesis import Phase, settings  # noqa: PLC0415

            unshrunk = (Phase.explicit, Phase.generate)  # nobody reads the example that fails
            settings.register_profile("faults", settings(max_examples=30), phases=unshrunk)
            settings.load_profile("faults")

    def pytest_collection_finish(self) -> None:
        import dhtd  # noqa: PLC0415

        if not Path(dhtd.__file__).is_relative_to(self._root):
            pytest.exit(f"the tests of {self._root} import {dhtd.__file__}", returncode=pytest.ExitCode.INTERNAL_ERROR)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self._note(report.nodeid)

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._running = nodeid
        if self._expected:
            signal.signal(signal.SIGALRM, self._hangs)
            signal.setitimer(signal.ITIMER_REAL, self._patience + 10 * self._expected.get(nodeid, 0.0))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._taken[report.nodeid] = self._taken.get(report.nodeid, 0.0) + report.duration
        if report.failed:
            self._note(report.nodeid)

    def pytest_runtest_logfinish(self) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0.0)

    def pytest_sessionfinish(self) -> None:
        if not self._expected:
            self._times.write_text(json.dumps(self._taken))

    def _note(self, nodeid: str) -> None:
        if not self._verdict.exists():
            self._verdict.write_text(nodeid)

    def _hangs(self, *_: object) -> NoReturn:
        self._note(self._running)
        os._exit(HANGS)  # an exception might be caught by the very code that hangs


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--verdict", type=Path, required=True, help="file for the name of the first test that fails")
    parser.addoption("--patience", type=float, required=True, help="seconds for each test, beside ten times its own")
    parser.addoption(
        "--times", type=Path, required=True, help="how long each test takes: written once, read afterwards"
    )


def pytest_configure(config: pytest.Config) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))
    options = config.option
    watch = Watch(options.verdict, options.times, options.patience, config.rootpath)
    config.pluginmanager.register(watch)
