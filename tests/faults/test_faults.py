"""The seeding of faults: each fault fits the present code, and its fate is reported as it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.faults import ancestor, harmless
from tests.faults.__main__ import draw, report
from tests.faults.checkout import ROOT, Checkout, Outcome, RunError, Verdict
from tests.faults.fault import Change, DoesNotApplyError, Fault, Place, seed
from tests.faults.mutants import Mutant, all_mutants, mutants, sources, text_of

COUNT = """\
def count(up_to: int) -> int:
    total = 0
    while total < up_to:
        total += 1  # one by one
    assert total == up_to
    return total
"""
TEST = """\
from dhtd.core.counter import count

def test_it_counts():
    assert count(2) == 2
"""


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a checkout of one function and one test, without plugins."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    root = tmp_path / "small"
    files = {
        "pyproject.toml": "[tool.pytest.ini_options]\npythonpath = ['.']\n",
        "dhtd/__init__.py": "",
        "dhtd/core/counter.py": COUNT,
        "tests/core/test_counter.py": TEST,
    }
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return root


def fault(root: Path, before: str, after: str) -> Fault:
    return seed(root, "fault", (Change("dhtd/core/counter.py", before, after),))


@pytest.mark.parametrize("name", ancestor.FAULTS)
def test_each_ancestral_fault_fits_the_code(name: str) -> None:
    seeded = seed(ROOT, name, ancestor.FAULTS[name])
    for path, text in seeded.texts.items():
        compile(text, path, "exec")
        assert text != (ROOT / path).read_text()


def test_all_eleven_ancestral_faults_are_seeded() -> None:
    assert {int(name[:2]) for name in ancestor.FAULTS} == set(range(1, 12))


def test_an_unfitting_fault_is_named(small: Path) -> None:
    with pytest.raises(DoesNotApplyError, match=r"fault: dhtd/core/counter\.py has 0 times, not once:\nreturn nothing"):
        fault(small, "return nothing", "return")
    with pytest.raises(DoesNotApplyError, match="has 5 times"):
        fault(small, "total", "sum")


def test_mutants_spare_assertions_and_types(small: Path) -> None:
    made = mutants(small, small / "dhtd/core/counter.py")
    assert made == mutants(small, small / "dhtd/core/counter.py")
    assert {mutant.place.function for mutant in made} == {"count"}
    changes = {(mutant.place.before, mutant.place.after) for mutant in made}
    assert ("while total < up_to:", "while total <= up_to:") in changes
    assert ("total += 1", "total -= 1") in changes
    assert ("return total", "return None") in changes
    assert not any("assert" in before or "def" in before for before, _ in changes)


def test_mutants_spare_the_labels_of_enums(small: Path) -> None:
    file = small / "dhtd/core/counter.py"
    file.write_text("from enum import Enum, IntEnum, auto\n")
    before = {mutant.place for mutant in mutants(small, file)}
    file.write_text(f"{file.read_text()}\nclass Way(Enum):\n    IN = auto()\n    OUT = 'out'\n")
    assert {mutant.place for mutant in mutants(small, file)} == before
    file.write_text(f"{file.read_text()}\nclass Kind(IntEnum):\n    PEER = 1\n")
    assert {mutant.place.before for mutant in mutants(small, file)} - {place.before for place in before} == {"PEER = 1"}


def test_mutants_spare_values_that_nobody_reads(small: Path) -> None:
    path = small / "dhtd/core/counter.py"
    path.write_text(
        "def note(each, key):\n    each[key] = None\n    each.pop(key, None)\n    return each.pop(key, None)\n"
    )
    befores = {(mutant.place.before, mutant.place.after) for mutant in mutants(small, path)}
    assert ("each.pop(key, None)", "None") in befores
    assert [after for before, after in befores if before == "each[key] = None"] == []
    assert ("return each.pop(key, None)", "return each.pop(key, ' ')") in befores


def test_mutants_come_from_any_room_that_is_named() -> None:
    found = {mutant.place.path for mutant in all_mutants(ROOT, ["guards/judge", "core/ids"])}
    assert found == {"dhtd/daemon/guards/judge.py", "dhtd/core/ids.py"}


def test_a_mutant_is_found_again_when_lines_move(small: Path) -> None:
    file = small / "dhtd/core/counter.py"
    before = [mutant.place for mutant in mutants(small, file)]
    file.write_text(f"# a line above\n\n{COUNT}")
    assert [mutant.place for mutant in mutants(small, file)] == before


def test_mutants_of_like_lines_are_told_apart(small: Path) -> None:
    file = small / "dhtd/core/counter.py"
    file.write_text("def no(yes):\n    if yes:\n        return True\n    return True\n")
    places = [mutant.place for mutant in mutants(small, file)]
    assert len(set(places)) == len(places)
    assert [place.nth for place in places if place.after == "return False"] == [1, 2]


def test_a_sample_is_python_and_repeatable(small: Path) -> None:
    made = mutants(small, small / "dhtd/core/counter.py")
    made.append(Mutant(Place("dhtd/core/counter.py", "count", "", ""), (1, 0), (1, 3), "no Python"))
    drawn = [each.place for each in draw(made, 3, 1, small)]
    assert len(drawn) == 3
    assert [each.place for each in draw(made[::-1], 3, 1, small)] == drawn[::-1]
    assert {each.place for each in draw(made, 5, 1, small)} > set(drawn)
    everything = draw(made, len(made), 1, small)
    assert [each.place for each in everything] == [mutant.place for mutant in made[:-1]]


def test_a_faults_fate_is_told_and_traces_removed(small: Path, tmp_path: Path) -> None:
    times = tmp_path / "times"
    times.write_text(json.dumps({"any": 0.0}))
    checkout = Checkout(small, tmp_path / "copy", times, patience=0.2)
    test = "tests/core/test_counter.py::test_it_counts"
    verdict = checkout.judge(fault(small, "return total", "return -total"))
    assert (verdict.outcome, verdict.by) == (Outcome.CAUGHT, test)
    verdict = checkout.judge(fault(small, "return total", "return +total"))
    assert (verdict.outcome, verdict.by) == (Outcome.SURVIVED, "")
    verdict = checkout.judge(fault(small, "total += 1", "total = 1"))
    assert (verdict.outcome, verdict.by) == (Outcome.TIMED_OUT, test)
    assert (checkout.place / "dhtd/core/counter.py").read_text() == COUNT


def test_the_tests_of_a_room_follow_its_own(small: Path, tmp_path: Path) -> None:
    for path in ("routing/test_table.py", "routing/test_table_model.py", "routing/test_other.py"):
        (small / "tests/core" / path).parent.mkdir(exist_ok=True)
        (small / "tests/core" / path).touch()
    checkout = Checkout(small, tmp_path / "copy", tmp_path / "times")
    own, room, others = checkout._stages(["dhtd/core/routing/table.py"])
    assert own == ["tests/core/routing/test_table.py", "tests/core/routing/test_table_model.py"]
    assert room == ["tests/core/routing/test_other.py"]
    assert "tests/core/test_counter.py" in others


def test_mutants_come_from_every_room() -> None:
    found = {str(path.relative_to(ROOT / "dhtd")) for path in sources(ROOT)}
    some = {"core/records.py", "core/routing/waiting_line.py", "core/querying/check.py", "wire/native_layout.py"}
    assert some <= found
    assert all(mutants(ROOT, ROOT / "dhtd" / path) for path in some)


def test_tests_failing_by_themselves_are_an_error(small: Path, tmp_path: Path) -> None:
    (small / "dhtd/core/counter.py").write_text("no Python")
    checkout = Checkout(small, tmp_path / "copy", tmp_path / "times")
    with pytest.raises(RunError, match=r"test_counter\.py fails without any fault"):
        checkout.check(["dhtd/core/counter.py"])


PLACE = Place("dhtd/core/counter.py", "count", "return total", "return None")


@pytest.mark.parametrize(
    ("caught", "survived", "reasons", "status"),
    [
        (10, 0, {}, 0),
        (19, 1, {PLACE: "nobody counts"}, 0),
        (10, 1, {}, 1),  # one survivor is not explained
        (18, 1, {PLACE: "nobody counts"}, 1),  # and here too many survive
    ],
)
def test_the_status_demands_enough_caught(
    caught: int, survived: int, reasons: dict[Place, str], status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    places = [PLACE] * survived + [Place("dhtd/core/other.py", "", "", "", nth) for nth in range(caught)]
    outcomes = [Outcome.SURVIVED] * survived + [Outcome.CAUGHT, *[Outcome.TIMED_OUT] * (caught - 1)]
    verdicts = {
        Fault(str(place), {}, place): Verdict(outcome, "", 1.0) for place, outcome in zip(places, outcomes, strict=True)
    }
    assert report(verdicts, reasons) == status
    printed = capsys.readouterr().out
    assert f"{caught + survived:6}       1  {caught - 1:9}  {survived:8}" in printed
    for place in places[:survived]:
        assert f"survived: {place}\n    {reasons.get(place, 'UNEXPLAINED')}" in printed


def test_a_surviving_old_fault_fails_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert report({Fault("01 an old one", {}): Verdict(Outcome.CAUGHT, "", 1.0)}, {}) == 0
    assert report({Fault("01 an old one", {}): Verdict(Outcome.SURVIVED, "", 1.0)}, {}) == 1
    assert "survived, a fault of the ancestor: 01 an old one" in capsys.readouterr().out


def test_each_harmless_change_has_a_reason() -> None:
    for entry in harmless.load():
        assert text_of(ROOT / entry.path, entry.function).count(entry.before) >= entry.nth, entry
        assert entry.after
        assert entry.reason
