"""The fuzz targets without a fuzzer: known inputs pass, old findings stay fixed, and defects are seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

import dns.message
import pytest

from dhtd.core.records import Immutable
from dhtd.core.serving.responder import Responder
from dhtd.daemon.state.file import StateFile
from dhtd.dns.wire import Head
from dhtd.service.params import Kind
from dhtd.wire import bep5_values
from dhtd.wire.native import NativeCodec
from dhtd.wire.native_layout import MAGIC
from dhtd.wire.sealed import ANSWERS, TAIL_SIZE, Nonces, Refusal, Seal
from tests.fuzz import __main__ as fuzz
from tests.fuzz import dns as dns_door
from tests.fuzz.reader import Reader
from tests.fuzz.target import HERE, Target, committed
from tests.fuzz.targets import TARGETS

MUTANTS = {
    "datagram": 2_000,
    "mainline": 2_000,
    "sealed": 500,
    "control": 300,
    "node": 100,
    "mainline-node": 30,
    "state": 60,
    "pkarr": 300,
    "dns": 300,
}  # about half a second for each target
COMMITTED_MAX = 64_000  # bytes of all committed inputs

each_target = pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)


@each_target
def test_whatever_is_known_passes(target: Target) -> None:
    known = target.corpus()
    assert len(known) >= 10
    for data in known:
        target.check(data)


@each_target
def test_what_is_known_passes_with_some_changes(target: Target) -> None:
    rng = Random(11)
    known = target.corpus()
    for _ in range(MUTANTS[target.name]):
        data = bytearray(rng.choice(known))
        for _ in range(rng.randint(1, 4)):
            if data:
                data[rng.randrange(len(data))] = rng.randrange(256)
        target.check(bytes(data) if target.mutate is None else target.mutate(bytes(data), rng.randrange(10**6)))


def test_the_corpus_is_small_and_has_targets() -> None:
    files = [*(HERE / "corpus").iterdir(), *(HERE / "findings").iterdir()]
    assert {path.stem for path in files} <= set(TARGETS)
    assert all(committed(f"{path.parent.name}/{path.name}") for path in files)
    assert sum(path.stat().st_size for path in files) < COMMITTED_MAX


# A target that could not fail would be no use


def check_all(name: str) -> None:
    for data in TARGETS[name].corpus():
        TARGETS[name].check(data)


def _misread(*given: object, **options: object) -> object:
    raise KeyError("a defect")


def _misread_value(*fields: object) -> object:
    return Immutable(b"no bencode")


def _take_any(responder: Responder, *args: object) -> bool:
    return True


def _let_in(seal: Seal, data: bytes, now: float) -> object:
    return data if data.startswith(MAGIC) else OPEN(seal, data, now)  # MAGIC is that of an open network


def _open_by_the_first(seal: Seal, data: bytes, now: float) -> object:
    seal.change(seal.keys[:1])
    return OPEN(seal, data, now)


def _open_again(seal: Seal, data: bytes, now: float) -> object:
    seal._nonces = Nonces()
    return OPEN(seal, data, now)


def _open_at_any_time(seal: Seal, data: bytes, now: float) -> object:
    plain = seal.decrypt(data)
    return Refusal.UNOPENED if plain is None else plain if plain[4:6] in ANSWERS else plain[:-TAIL_SIZE]


def _lose(file: StateFile, record_key: object) -> None:
    file.apply([])


OPEN = Seal.open
DEFECTS: dict[str, tuple[object, str, Callable[..., object]]] = {
    "datagram": (NativeCodec, "_decode", _misread),
    "mainline": (bep5_values, "to_value", _misread_value),
    "control": (Kind, "check", _misread),
    "state": (StateFile, "add_own", _lose),
    "pkarr": (dns.message, "from_wire", _misread),
}


@pytest.mark.parametrize("name", DEFECTS)
def test_a_defect_is_seen(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    where, what, defect = DEFECTS[name]
    monkeypatch.setattr(where, what, defect)
    with pytest.raises((AssertionError, KeyError, ValueError)):
        check_all(name)


@pytest.mark.parametrize("defect", [_let_in, _open_by_the_first, _open_again, _open_at_any_time])
def test_a_daemon_opening_other_keys_is_seen(
    monkeypatch: pytest.MonkeyPatch, defect: Callable[[Seal, bytes, float], object]
) -> None:
    monkeypatch.setattr(Seal, "open", defect)
    with pytest.raises(AssertionError, match=r"stranger|sealed with a key|came before"):
        check_all("sealed")


def test_an_answer_to_another_question_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.fuzz.dns._WARM", dns_door._responder())
    monkeypatch.setattr(Head, "key", property(lambda head: head.question[:-4].lower()))
    with pytest.raises(AssertionError):
        check_all("dns")


@pytest.mark.parametrize("name", ["node", "mainline-node"])
def test_a_node_that_takes_any_token_is_seen(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dhtd.core.serving.tokens.Tokens.is_valid", _take_any)
    with pytest.raises(AssertionError, match="a token is taken that was never given"):
        check_all(name)


# The command


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(fuzz, "PLACE", tmp_path)
    return tmp_path


def test_a_finding_is_named_and_the_status_is_1(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def guided(target: Target, options: Sequence[str], deadline: float) -> int:
        [prefix] = [option.partition("=")[2] for option in options if option.startswith("-artifact_prefix")]
        Path(f"{prefix}crash-cafe").write_bytes(b"\xca\xfe")
        (place / target.name / "log").write_text("#9 NEW cov: 7 ft: 8 corp: 1\nstat::number_of_executed_units: 12\n")
        return 77

    monkeypatch.setattr(fuzz, "_guided", guided)
    assert fuzz.main(["datagram", "--minutes=0.1"]) == 1
    said = capsys.readouterr().out
    assert "datagram: 12 inputs, 8 features" in said
    assert "python3 dev.py fuzz datagram --replay crash-cafe" in said
    assert len(list((place / "datagram" / "seeds").iterdir())) == len(set(TARGETS["datagram"].corpus()))
    assert fuzz.main(["datagram", "--replay", "crash-cafe"]) == 0
    assert "2 bytes: cafe\ndatagram: nothing is wrong" in capsys.readouterr().out


def test_a_run_without_findings_ends_with_0(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def guided(target: Target, options: Sequence[str], deadline: float) -> int:
        seen.append((target.name, "-max_total_time=90" in options))
        (place / target.name / "log").write_text("")
        return 0

    monkeypatch.setattr(fuzz, "_guided", guided)
    monkeypatch.setattr(fuzz, "_time", lambda read, data: 1e-6)  # the inputs are read by tests of their own
    assert fuzz.main(["--minutes=1.5"]) == 0
    assert seen == [(name, True) for name in TARGETS]


def test_the_dearest_control_input_is_told(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    dear = b'{"method":"ping","params":{' + b",".join(b'"%d":0' % number for number in range(9)) + b"}}"

    def guided(target: Target, options: Sequence[str], deadline: float) -> int:
        (place / target.name / "corpus" / "kept").write_bytes(dear)
        (place / target.name / "log").write_text("")
        return 0

    monkeypatch.setattr(fuzz, "_guided", guided)
    monkeypatch.setattr(fuzz, "_time", lambda read, data: read(data) or 1e-6 * (1 + data.count(b'":0')))
    assert fuzz.main(["control", "--minutes=0.1"]) == 0
    assert f"control: the dearest input costs 10 us: {dear.hex()}" in capsys.readouterr().out


def test_the_dearest_input_is_told_with_its_checks(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def guided(target: Target, options: Sequence[str], deadline: float) -> int:
        (place / target.name / "corpus" / "kept").write_bytes(b"dear")
        (place / target.name / "log").write_text("")
        return 0

    monkeypatch.setattr(fuzz, "_guided", guided)
    monkeypatch.setattr(fuzz, "_time", lambda read, data: 7e-6 if data == b"dear" else 1e-6)
    assert fuzz.main(["state", "--minutes=0.1"]) == 0
    assert "state: the dearest input costs 7 us, checks included: 64656172" in capsys.readouterr().out


def test_a_replayed_defect_shows_its_traceback(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(NativeCodec, "_decode", _misread)
    assert fuzz.main(["datagram", "--replay", "00"]) == 1
    assert "KeyError: 'a defect'" in capsys.readouterr().err
    assert fuzz.main(["datagram", "--replay", "no-such"]) == 2


def test_merging_keeps_what_is_not_generated(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz, "HERE", place)
    (place / "corpus").mkdir()
    target = TARGETS["datagram"]

    def guided(target: Target, options: Sequence[str], deadline: float) -> int:
        assert options[0] == "-merge=1"
        for number, data in enumerate([b"two", b"1", b"x" * 300, *list(target.seeds())[1:3]]):
            (Path(options[1]) / str(number)).write_bytes(data)
        return 0

    monkeypatch.setattr(fuzz, "_guided", guided)
    (place / "datagram").mkdir()
    assert fuzz._keep(target) == 2
    assert (place / "corpus" / "datagram.hex").read_text() == f"{b'1'.hex()}\n{b'two'.hex()}\n"


def test_an_exhausted_reader_reads_zeros() -> None:
    reader = Reader(b"\x02ab\x00\x01c")
    assert (reader.some(9), reader.some(2_000), reader.is_over) == (b"ab", b"c", True)
    assert (reader.number(4), reader.take(2), reader.some(5), reader.rest()) == (0, b"\0\0", b"", b"")
