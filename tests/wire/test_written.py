"""What was written once serves again, as long as it is the same."""

from __future__ import annotations

from collections.abc import Sequence

from dhtd.core.endpoint import Endpoint
from dhtd.wire.written import Written


class Writer:
    """Counts what it writes."""

    def __init__(self) -> None:
        self.wrote = 0
        self.written = Written(self.write)

    def write(self, endpoints: Sequence[Endpoint]) -> bytes:
        self.wrote += 1
        return b"".join(endpoints)


def at(number: int) -> Endpoint:
    return Endpoint.of("203.0.113.1", number)


def test_a_tuple_is_written_once() -> None:
    writer, endpoints = Writer(), (at(1), at(2))
    assert {writer.written.of(endpoints) for _ in range(3)} == {at(1) + at(2)}
    assert writer.wrote == 1


def test_a_list_may_change() -> None:
    writer, endpoints = Writer(), [at(1)]
    assert writer.written.of(endpoints) == at(1)
    endpoints.append(at(2))
    assert writer.written.of(endpoints) == at(1) + at(2)


def test_a_new_tuple_is_never_taken_for_an_old_one() -> None:
    """A tuple that is gone would leave its `id` to the next one."""
    writer = Writer()
    for number in range(1, 2_000):
        assert writer.written.of((at(number),)) == at(number)
