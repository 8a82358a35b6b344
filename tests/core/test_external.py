"""Our own address as others see it."""

from __future__ import annotations

from dhtd.core.endpoint import Endpoint
from dhtd.core.external import ExternalAddress
from tests.core.small import endpoint

US = Endpoint.of("203.0.113.1", 1729)
LIE = Endpoint.of("198.51.100.1", 1)
US6 = Endpoint.of("2001:db8::1", 1729)


def six(number: int) -> Endpoint:
    return Endpoint.of(f"2001:db8:{number:x}::1", 1729)


def test_nobody_has_told_us_anything_yet() -> None:
    assert ExternalAddress(16).endpoints() == []


def test_the_most_frequent_word_wins() -> None:
    external = ExternalAddress(16)
    external.vote(endpoint(1), LIE)
    external.vote(endpoint(2), US)
    external.vote(endpoint(3), US)
    assert external.endpoints() == [US]


def test_a_peer_has_one_vote_however_often_and_from_whatever_port_it_speaks() -> None:
    external = ExternalAddress(16)
    external.vote(endpoint(2), US)
    external.vote(endpoint(3), US)
    for port in range(1, 10):
        external.vote(endpoint(1).with_port(port), LIE)
    assert external.endpoints() == [US]


def test_a_peer_may_change_its_mind() -> None:
    external = ExternalAddress(16)
    external.vote(endpoint(1), LIE)
    external.vote(endpoint(1), US)
    assert external.endpoints() == [US]


def test_only_the_latest_voters_count_and_who_votes_again_is_late() -> None:
    external = ExternalAddress(3)
    for number in (1, 2, 3):
        external.vote(endpoint(number), LIE)
    external.vote(endpoint(1), US)
    external.vote(endpoint(4), US)  # 2 is forgotten
    assert external.endpoints() == [US]
    assert len(external._votes) == 3


def test_each_family_is_told_by_those_who_reach_us_by_it() -> None:
    external = ExternalAddress(16)
    external.vote(endpoint(1), US6)
    external.vote(six(1), US)
    assert external.endpoints() == []
    external.vote(six(1), US6)
    external.vote(endpoint(1), US)
    assert external.endpoints() == [US, US6]
