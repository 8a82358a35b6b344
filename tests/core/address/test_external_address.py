"""Our own address as others see it."""

from __future__ import annotations

import pytest

from dhtd.core.address.external_address import ExternalAddress, Seen, Verdict
from dhtd.core.endpoint import Endpoint
from dhtd.core.policy import DEFAULT, PRIVATE_NETWORKS, Policy
from tests.core.small import MAPPED, endpoint

US = Endpoint.of("203.0.113.1", 1729)
LIE = Endpoint.of("198.51.100.1", 1)
AT_HOME = Endpoint.of("192.168.1.5", 1729)
LIE_AT_HOME = Endpoint.of("192.168.1.6", 1)
US6 = Endpoint.of("2001:db8::1", 1729)


def peer(provider: int, machine: int = 1) -> Endpoint:
    """Return the endpoint of a machine in one of many providers' networks."""
    return Endpoint.of(f"100.{provider}.{machine >> 8}.{machine & 255}", 1729)


def six(provider: int) -> Endpoint:
    return Endpoint.of(f"2001:{provider:x}::1", 1729)


def told(*votes: tuple[Endpoint, Endpoint], policy: Policy = DEFAULT) -> ExternalAddress:
    external = ExternalAddress(policy)
    for voter, observed in votes:
        external.vote(voter, observed, 0.0)
    return external


def test_nobody_has_told_us_anything_yet() -> None:
    external = told()
    assert external.endpoints() == []
    assert external.seen() == []


def test_three_networks_make_an_address_believed() -> None:
    external = told((peer(1), US), (peer(2), US))
    assert external.endpoints() == []
    assert external.seen() == [Seen(US, 2, is_believed=False)]
    external.vote(peer(3), US, 0.0)
    assert external.endpoints() == [US]
    assert external.seen() == [Seen(US, 3, is_believed=True)]


@pytest.mark.no_cover
def test_a_liar_has_one_vote_per_network() -> None:
    external = told(*((peer(provider), US) for provider in (1, 2, 3)))
    for machine in range(2, 10_000):
        external.vote(peer(9, machine), LIE, 0.0)
        external.vote(Endpoint.of(f"2001:db8:{machine:x}::1", 1729), US6, 0.0)
    assert external.endpoints() == [US]
    assert external.seen() == [Seen(US, 3, is_believed=True), Seen(US6, 1, is_believed=False)]


def test_two_liars_do_not_outvote_three_honest() -> None:
    external = told(*((peer(provider), LIE) for provider in (1, 2)))
    assert external.endpoints() == []
    for provider in (3, 4, 5):
        external.vote(peer(provider), US, 0.0)
    assert external.endpoints() == [US]


def test_a_vote_for_us_may_show_that_we_have_moved() -> None:
    external = told(*((peer(provider), US) for provider in (1, 2, 3)))
    for provider in (4, 5, 6):
        assert external.vote(peer(provider), LIE, 10.0) is Verdict.CONTRADICTED
    # Those that have seen us here are forgotten, and one more does not make up for them.
    assert external.vote(peer(7), US, DEFAULT.external_lasts) is Verdict.MOVED
    assert external.endpoints() == [LIE]


def test_votes_count_addresses_and_not_ports() -> None:
    external = told((peer(1), US.with_port(5)), (peer(2), US.with_port(7)), (peer(3), US.with_port(7)))
    assert external.endpoints() == [US.with_port(7)]


@pytest.mark.parametrize(
    ("voter", "observed"),
    [(endpoint(1), US), (peer(1), AT_HOME), (endpoint(1), US6), (peer(1), US6), (six(1), US)],
)
def test_a_vote_must_match_its_family_and_scope(voter: Endpoint, observed: Endpoint) -> None:
    assert told((voter, observed)).seen() == []


def test_one_private_vote_is_enough() -> None:
    external = told((endpoint(1), AT_HOME))
    assert external.endpoints() == [AT_HOME]
    for number in (2, 3):
        external.vote(endpoint(number), LIE_AT_HOME, 0.0)
    for number in (4, 5):
        external.vote(endpoint(number), AT_HOME, 0.0)
    assert external.endpoints() == [AT_HOME]
    for port in range(1, 10):
        external.vote(endpoint(2).with_port(port), LIE_AT_HOME, 0.0)
    assert external.endpoints() == [AT_HOME]


def test_an_unexempt_private_range_stays_private() -> None:
    assert told((endpoint(1), AT_HOME), policy=Policy(exempt_networks=())).endpoints() == [AT_HOME]


def test_an_exempt_public_range_needs_three_votes() -> None:
    policy = Policy(exempt_networks=(*PRIVATE_NETWORKS, "203.0.113.0/24"))
    voters = [Endpoint.of(f"203.0.113.{number}", 1) for number in (1, 2, 3)]
    assert told(*((voter, US) for voter in voters[:2]), policy=policy).endpoints() == []
    assert told(*((voter, US) for voter in voters), policy=policy).endpoints() == [US]
    assert told((endpoint(1), US), (voters[0], AT_HOME), policy=policy).seen() == []


# Several addresses

HERE, ON_LINK = Endpoint.of("127.0.0.1", 1729), Endpoint.of("169.254.1.1", 1729)
BY_SCOPE = ((HERE, HERE), (ON_LINK, ON_LINK.with_port(7)), (endpoint(1), AT_HOME), *((peer(n), US) for n in (1, 2, 3)))


@pytest.mark.parametrize(
    ("other", "ours"),
    [(HERE, HERE), (ON_LINK, ON_LINK.with_port(7)), (endpoint(9), AT_HOME), (peer(9), US), (six(9), US)],
    ids=str,
)
def test_each_asker_hears_a_meaningful_address(other: Endpoint, ours: Endpoint) -> None:
    assert told(*BY_SCOPE).endpoints_for(other) == [ours]
    assert told(*reversed(BY_SCOPE)).endpoints_for(other) == [ours]


def test_meaningless_addresses_are_told_to_nobody() -> None:
    external = told(*BY_SCOPE[:2])
    for other in (endpoint(9), peer(9), six(9)):
        assert external.endpoints_for(other) == []
    external.vote(endpoint(1), AT_HOME, 0.0)
    assert external.endpoints_for(endpoint(9)) == [AT_HOME]
    for other in (peer(9), six(9)):
        assert external.endpoints_for(other) == []
    assert external.endpoints() == [AT_HOME]  # though it has no more votes than the others


def test_scopes_do_not_alternate_in_belief() -> None:
    external = told(*BY_SCOPE)
    for number in range(2, 6):
        assert external.vote(endpoint(number), AT_HOME, 0.0) is Verdict.NOTHING
        assert external.vote(HERE.with_port(number), HERE, 0.0) is Verdict.NOTHING
    assert external.vote(endpoint(1), LIE_AT_HOME, 0.0) is Verdict.CONTRADICTED


def test_a_belief_outranks_more_plain_votes() -> None:
    external = told((peer(1), US), (peer(2), US), (endpoint(1), AT_HOME))
    assert external.endpoints() == [AT_HOME]
    external.vote(peer(3), US, 0.0)
    assert external.endpoints() == [US]  # by three to one


def test_a_peer_may_change_its_mind() -> None:
    external = told((endpoint(1), LIE_AT_HOME))
    assert external.endpoints() == [LIE_AT_HOME]
    external.vote(endpoint(1), AT_HOME, 0.0)
    assert external.endpoints() == [AT_HOME]


def test_only_the_latest_voters_count() -> None:
    external = told(*((endpoint(number), LIE_AT_HOME) for number in (1, 2, 3)), policy=Policy(external_votes=3))
    assert external.endpoints() == [LIE_AT_HOME]
    external.vote(endpoint(1), AT_HOME, 0.0)
    external.vote(endpoint(4), AT_HOME, 0.0)  # 2 is forgotten
    assert external.endpoints() == [AT_HOME]
    assert len(external._votes) == 3


def test_a_vote_that_is_forgotten_is_missed() -> None:
    external = told(*((peer(number), US) for number in (1, 2, 3)), policy=Policy(external_votes=3))
    assert external.endpoints() == [US]
    external.vote(peer(4), US, 0.0)
    assert external.endpoints() == [US]
    external.vote(peer(5), LIE, 0.0)
    assert external.endpoints() == []


def test_departed_voters_do_not_outvote_for_ever() -> None:
    lasts = DEFAULT.external_lasts
    external = told(*((peer(number), LIE) for number in range(1, 7)))
    for number in (4, 5, 6):  # these are still there
        external.vote(peer(number), US, 60.0)
        external.vote(peer(number), US, lasts - 1)
    assert external.endpoints() == [LIE]  # by three to three, and it came first
    external.vote(peer(6), US, lasts)
    assert external.endpoints() == [US]
    external.vote(peer(6), US, 2 * lasts - 2)
    assert external.seen() == [Seen(US, 3, is_believed=True)]
    external.vote(peer(6), US, 2 * lasts - 1)
    assert external.seen() == [Seen(US, 1, is_believed=False)]
    assert external.endpoints() == []
    external.vote(peer(6), US, 9 * lasts)
    assert external.seen() == [Seen(US, 1, is_believed=False)]
    assert list(external._cast_at) == list(external._votes) == [bytes((100, 6))]


def test_each_familys_voters_decide_its_address() -> None:
    external = told(*((six(provider), US6) for provider in (1, 2, 3)))
    assert external.endpoints() == [US6]
    for provider in (1, 2, 3):
        external.vote(peer(provider), US, 0.0)
    assert external.endpoints() == [US, US6]


def test_changing_the_returned_list_is_harmless() -> None:
    external = told((endpoint(1), AT_HOME))
    external.endpoints().clear()
    assert external.endpoints() == [AT_HOME]


def test_one_vote_makes_other_addresses_elsewhere() -> None:
    external = told((peer(1), US))
    assert not external.is_elsewhere(US.with_port(9))
    assert external.is_elsewhere(LIE)
    assert not external.is_elsewhere(US6)


def test_a_vote_counts_in_one_scope_only() -> None:
    external = told(*((peer(number), US) for number in (1, 2, 3)))
    assert external.is_elsewhere(LIE)
    assert not external.is_elsewhere(AT_HOME)
    external.vote(endpoint(1), AT_HOME, 0.0)
    assert external.is_elsewhere(LIE_AT_HOME)
    assert not external.is_elsewhere(AT_HOME.with_port(9))


def test_a_mapped_ipv4_address_is_nobodys_own() -> None:
    assert told((US6, MAPPED)).seen() == []
