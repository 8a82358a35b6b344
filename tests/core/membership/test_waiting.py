"""Operations that wait for the network: each as long as its patience says, in the order in which they came."""

from __future__ import annotations

import pytest

from dhtd.core.membership.waiting import Patience, Waiting


class Operation:
    """Notes when it is started, and given up."""

    def __init__(self, error: Exception | None = None) -> None:
        self.started: list[float] = []
        self.given_up: list[float] = []
        self._error = error

    def start(self, now: float) -> None:
        self.started.append(now)
        if self._error is not None:
            raise self._error

    def give_up(self, now: float) -> None:
        self.given_up.append(now)


class Network:
    """Has those wait that are at least so patient."""

    def __init__(self, patience: Patience | None) -> None:
        self.patience = patience
        self.asked: list[float] = []
        self.waiting = Waiting(self.must_wait)

    def must_wait(self, patience: Patience, now: float) -> bool:
        self.asked.append(now)
        return self.patience is not None and patience >= self.patience


def test_patience_has_an_order() -> None:
    assert Patience.LITTLE < Patience.SOME < Patience.ENDLESS


def test_one_that_need_not_wait_starts_at_once() -> None:
    network, operation = Network(Patience.SOME), Operation()
    network.waiting.begin(operation, Patience.LITTLE, 3.0)
    assert (operation.started, network.asked) == ([3.0], [3.0])
    assert operation not in network.waiting
    assert len(network.waiting) == 0


def test_one_that_must_wait_starts_when_it_need_not() -> None:
    network, operation = Network(Patience.SOME), Operation()
    network.waiting.begin(operation, Patience.SOME, 3.0)
    network.waiting.settle(4.0)
    assert operation in network.waiting
    assert len(network.waiting) == 1
    network.patience = Patience.ENDLESS
    network.waiting.settle(5.0)
    network.waiting.settle(6.0)
    assert operation.started == [5.0]
    assert operation not in network.waiting


def test_patience_may_change_while_it_waits() -> None:
    network, operation = Network(Patience.SOME), Operation()
    network.waiting.begin(operation, Patience.SOME, 3.0)
    network.waiting.set_patience(operation, Patience.ENDLESS)
    network.patience = Patience.ENDLESS
    network.waiting.settle(4.0)
    assert operation.started == []
    network.waiting.set_patience(operation, Patience.LITTLE)
    network.waiting.settle(5.0)
    assert operation.started == [5.0]


def test_one_that_does_not_wait_has_no_patience() -> None:
    network, operation = Network(Patience.LITTLE), Operation()
    network.waiting.set_patience(operation, Patience.ENDLESS)
    network.waiting.forget(operation)
    assert len(network.waiting) == 0


def test_a_forgotten_one_never_starts() -> None:
    network, operation = Network(Patience.LITTLE), Operation()
    network.waiting.begin(operation, Patience.SOME, 3.0)
    network.waiting.forget(operation)
    network.patience = None
    network.waiting.settle(4.0)
    assert operation.started == []


def test_they_start_in_the_order_in_which_they_came() -> None:
    network, order = Network(Patience.LITTLE), list[str]()

    class Named(Operation):
        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

        def start(self, now: float) -> None:
            order.append(self.name)

    for name in ("first", "second", "third"):
        network.waiting.begin(Named(name), Patience.SOME, 3.0)
    network.patience = None
    network.waiting.settle(4.0)
    assert order == ["first", "second", "third"]


def test_one_start_may_forget_another() -> None:
    network, second = Network(Patience.LITTLE), Operation()

    class First(Operation):
        def start(self, now: float) -> None:
            network.waiting.forget(second)

    network.waiting.begin(First(), Patience.SOME, 3.0)
    network.waiting.begin(second, Patience.SOME, 3.0)
    network.patience = None
    network.waiting.settle(4.0)
    assert second.started == []


def test_a_defect_at_the_start_is_the_end() -> None:
    at_once, later = Operation(ValueError("at once")), Operation(ValueError("later"))
    network = Network(Patience.ENDLESS)
    network.waiting.begin(later, Patience.ENDLESS, 3.0)
    with pytest.raises(ValueError, match="at once"):
        network.waiting.begin(at_once, Patience.SOME, 4.0)
    network.patience = None
    with pytest.raises(ValueError, match="later"):
        network.waiting.settle(5.0)
    assert (at_once.given_up, later.given_up) == ([4.0], [5.0])
    assert len(network.waiting) == 0
