"""A copy of the checkout: one fault at a time is seeded in it, and the tests that should catch the fault run there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Final

from tests.faults.fault import Fault
from tests.faults.watch import HANGS

ROOT: Final = Path(__file__).parents[2]
# The rooms of tests to run for a fault in each layer, in order.
LAYERS: Final = {"core": ("core", "wire", "sim"), "wire": ("wire", "core", "sim")}
PATIENCE: Final = 20.0  # seconds for any test, on top of ten times its time without a fault
LONGEST: Final = 1800.0  # seconds; each test has its own, shorter limit, but code in C does not hear of it


class Outcome(Enum):
    """The fate of a fault."""

    CAUGHT = "caught"
    TIMED_OUT = "timed out"  # a test hung: caught as well
    SURVIVED = "survived"


@dataclass(frozen=True, slots=True)
class Verdict:
    """An outcome, the test that noticed, and the seconds that it took."""

    outcome: Outcome
    by: str
    seconds: float


class RunError(Exception):
    """The tests could not be run, or fail without any fault."""


class Checkout:
    """A copy of `root` in the directory `place`. `times` are the times of the tests, shared by copies."""

    def __init__(self, root: Path, place: Path, times: Path, patience: float = PATIENCE) -> None:
        self.place = place
        self._patience = patience
        self._times = times
        self._verdict = place.with_suffix(".verdict")
        shutil.copytree(root, place, ignore=shutil.ignore_patterns(".*", "__pycache__"))

    def check(self, paths: Iterable[str]) -> Verdict:
        """Run all tests that faults in these files may need, without a fault; raise `RunError` if one fails."""
        verdict = self._run([test for stage in self._stages(paths) for test in stage])
        if verdict.outcome is not Outcome.SURVIVED:
            raise RunError(f"{verdict.by} fails without any fault")
        return verdict

    def judge(self, fault: Fault) -> Verdict:
        """Seed a fault, run the tests until one fails, and take the fault out again."""
        seconds = 0.0
        with self._seeded(fault):
            for stage in self._stages(fault.texts):
                verdict = self._run(stage)
                seconds += verdict.seconds
                if verdict.outcome is not Outcome.SURVIVED:
                    return replace(verdict, seconds=seconds)
        return Verdict(Outcome.SURVIVED, "", seconds)

    @contextmanager
    def _seeded(self, fault: Fault) -> Iterator[None]:
        originals = {path: (self.place / path).read_text() for path in fault.texts}
        try:
            self._write(fault.texts)
            yield
        finally:
            self._write(originals)

    def _write(self, texts: dict[str, str]) -> None:
        for path, text in texts.items():
            file = self.place / path
            file.write_text(text)
            for compiled in file.parent.glob(f"__pycache__/{file.stem}.*"):  # of the same second and size, perhaps
                compiled.unlink()

    def _stages(self, paths: Iterable[str]) -> list[list[str]]:
        """Return the tests named after these files, then all others of their rooms, and then all of the layers above.

        Tests mirror the package: those of `dhtd/core/routing/table.py` are in `tests/core/routing/test_table*.py`.
        """
        own: list[Path] = []
        rooms: list[Path] = []
        layers: list[Path] = []
        for path in paths:
            inside = Path(path).relative_to("dhtd")
            room, stem = self.place / "tests" / inside.parent, f"test_{inside.stem}"
            own += sorted([*room.glob(f"{stem}.py"), *room.glob(f"{stem}_*.py")])
            rooms += sorted(room.glob("test_*.py"))
            for layer in LAYERS.get(inside.parts[0], ()):
                layers += sorted((self.place / "tests" / layer).rglob("test_*.py"))
        stages: list[list[Path]] = []
        for files in (own, rooms, layers):
            before = {file for stage in stages for file in stage}
            stages.append([file for file in dict.fromkeys(files) if file not in before])
        return [[str(file.relative_to(self.place)) for file in stage] for stage in stages if stage]

    def _run(self, tests: Sequence[str]) -> Verdict:
        self._verdict.unlink(missing_ok=True)
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-p", "watch"]
        command += [
            "--verdict",
            str(self._verdict),
            "--times",
            str(self._times),
            "--patience",
            str(self._patience),
            *tests,
        ]
        env = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}  # of `watch`
        began = time.monotonic()
        try:
            run = subprocess.run(
                command,
                cwd=self.place,
                env=env,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=LONGEST,
                check=False,
            )
            status = run.returncode
        except subprocess.TimeoutExpired:
            return Verdict(Outcome.TIMED_OUT, tests[0], LONGEST)
        seconds = time.monotonic() - began
        by = self._verdict.read_text() if self._verdict.exists() else ""
        if status == 0:
            return Verdict(Outcome.SURVIVED, "", seconds)
        if status == HANGS:
            return Verdict(Outcome.TIMED_OUT, by, seconds)
        if not by and status > 0:
            raise RunError(f"pytest ended with {status}:\n{run.stdout[-2000:]}\n{run.stderr[-2000:]}")
        return Verdict(Outcome.CAUGHT, by or f"{tests[0]} ended by signal {-status}", seconds)
