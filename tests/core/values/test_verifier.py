"""Values of other nodes: believed if they belong under the key and their signature is good, each verified once."""

from __future__ import annotations

from dhtd.core.counters import Counters
from dhtd.core.ids import Id
from dhtd.core.records import Immutable, Value
from dhtd.core.values.verifier import _REMEMBERED, Verifier
from dhtd.wire.native import NativeCodec
from tests.values import by_owner, forged, squatting

VALUE = by_owner(1)


class CountingCodec(NativeCodec):
    """Counts the signatures that it verifies."""

    def __init__(self) -> None:
        super().__init__()
        self.verified = 0

    def is_genuine(self, value: Value) -> bool:
        """Whether the signature is good."""
        self.verified += 1
        return super().is_genuine(value)


CODEC = CountingCodec()
KEY = CODEC.key_of(VALUE)


def made() -> tuple[Verifier, CountingCodec, Counters]:
    codec, counters = CountingCodec(), Counters()
    return Verifier(codec, counters), codec, counters


def test_a_good_value_is_believed_and_verified_once() -> None:
    verifier, codec, counters = made()
    assert all(verifier.accepts(KEY, value) for value in (VALUE, VALUE, by_owner(2), VALUE))
    assert (codec.verified, counters.forged) == (2, 0)


def test_a_forged_value_is_not_believed() -> None:
    verifier, codec, counters = made()
    for value in (forged(1), VALUE._replace(data=b"other"), VALUE._replace(seq=2), VALUE._replace(salt=b"s")):
        assert not verifier.accepts(CODEC.key_of(value), value)
    assert (codec.verified, counters.forged) == (4, 4)
    assert not verifier.accepts(KEY, forged(1))
    assert codec.verified == 5  # what is forged is not remembered


def test_a_value_of_another_key_is_not_believed() -> None:
    verifier, codec, counters = made()
    for key in (Id(KEY ^ 1), CODEC.key_of(by_owner(1, salt=b"s"))):
        assert not verifier.accepts(key, VALUE)
    assert not verifier.accepts(KEY, Immutable(b"data"))
    assert (codec.verified, counters.forged) == (0, 3)
    assert verifier.accepts(KEY, VALUE)
    assert not verifier.accepts(Id(KEY ^ 1), VALUE)  # though it is genuine


def test_data_prove_themselves() -> None:
    verifier, _, counters = made()
    assert verifier.accepts(KEY, squatting(VALUE))
    assert verifier.accepts(CODEC.key_of(Immutable(b"")), Immutable(b""))
    assert counters.forged == 0


def test_the_latest_ones_are_remembered() -> None:
    verifier, codec, _ = made()
    for seq in range(_REMEMBERED):
        assert verifier.accepts(KEY, by_owner(seq))
    assert verifier.accepts(KEY, by_owner(0))
    assert codec.verified == len(verifier._genuine) == _REMEMBERED
    assert verifier.accepts(KEY, by_owner(_REMEMBERED))
    assert len(verifier._genuine) == 1
    assert verifier.accepts(KEY, by_owner(0))
    assert codec.verified == _REMEMBERED + 2
