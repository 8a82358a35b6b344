"""No party holds more than its share: of the table, of a bucket, of a lookup."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from random import Random

import pytest

from dhtd.core.address_groups import Party, outside
from dhtd.core.counters import (
    CONTACTS_PER_IP,
    CONTACTS_PER_NETWORK,
    CONTACTS_PER_NETWORK_IN_BUCKET,
    LOOKUP_PER_IP,
    LOOKUP_PER_NETWORK,
    none_hit,
)
from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import NATIVE, Id
from dhtd.core.messages import Contact
from dhtd.core.policy import DEFAULT, Policy
from dhtd.core.querying.search import Search
from dhtd.core.querying.steps import Ask, Finished, Wait
from dhtd.core.routing.admission import RoutingState
from dhtd.core.routing.diversity import Diversity, Quota
from dhtd.core.routing.outcomes import Contested, Crowded, Full, Inserted
from dhtd.wire.native import NativeCodec
from tests.core.small import CODEC, contact

CODEC256 = NativeCodec()


def at(network: int, machine: int, port: int = 1729) -> Endpoint:
    """Return the endpoint of a machine in one of many /24s."""
    return Endpoint.of(f"203.0.{network}.{machine}", port)


def at6(network: int, machine: int) -> Endpoint:
    """Return the endpoint of a machine in one of many /64s of one /48."""
    return Endpoint.of(f"2001:db8:0:{network:x}::{machine:x}", 1729)


def make(policy: Policy = DEFAULT) -> RoutingState:
    return RoutingState(Id(0), CODEC, policy, 0.0)


def make256(policy: Policy = DEFAULT) -> RoutingState:
    return RoutingState(NATIVE.digest(b"us"), CODEC256, policy, 0.0)


def full_of_strangers(state: RoutingState, count: int, rng: Random, first: int = 0) -> None:
    """Let nodes answer, each alone in its /24."""
    for number in range(first, first + count):
        endpoint = Endpoint(bytes((60, number >> 8, number & 255, 1)) + b"\6\xc1")
        state.answered(Contact(NATIVE.random(rng), endpoint), 0.1, 0.0)


# The table


@pytest.mark.parametrize("at", [at, at6])
def test_of_one_network_two_enter_a_bucket(at: Callable[[int, int], Endpoint]) -> None:
    state = make()
    for number in range(2):
        assert state.answered(Contact(Id(64 + number), at(1, number + 1)), 0.1, 0.0) == Inserted()
    assert state.answered(Contact(Id(66), at(1, 3)), 0.1, 0.0) == Crowded(CONTACTS_PER_NETWORK_IN_BUCKET)
    assert state.answered(Contact(Id(66), at(2, 3)), 0.1, 0.0) == Inserted()
    assert state.caps_hit == {**none_hit(), CONTACTS_PER_NETWORK_IN_BUCKET: 1}


def test_of_one_address_one_enters_the_table() -> None:
    state = make()
    assert state.answered(Contact(Id(64), at(1, 1)), 0.1, 0.0) == Inserted()
    assert state.answered(Contact(Id(1), at(1, 1, port=9)), 0.1, 0.0) == Crowded(CONTACTS_PER_IP)
    assert state.caps_hit[CONTACTS_PER_IP] == 1


@pytest.mark.no_cover
def test_ten_of_one_network_enter_the_table() -> None:
    rng = Random(1)
    state = make256()
    outcomes = []
    for number in range(2_000):
        full_of_strangers(state, 1, rng, number)
        outcomes.append(state.answered(Contact(NATIVE.random(rng), at(1, 1 + number % 250, 1 + number)), 0.1, 0.0))
    assert outcomes.count(Inserted()) == 10
    assert Crowded(CONTACTS_PER_NETWORK) in outcomes


@pytest.mark.slow
@pytest.mark.no_cover
def test_one_network_has_one_share_of_the_table() -> None:
    """The attacker gets 10 of about 100 contacts with a whole /24, and one with one address."""
    rng = Random(2)
    for at_most, machines in ((10, 254), (1, 1)):
        state = make256()
        full_of_strangers(state, 3_000, rng)
        honest = len(state.table)
        for number in range(10_000):
            endpoint = at(7, 1 + number % machines, 1 + number)
            state.answered(Contact(NATIVE.random(rng), endpoint), 0.1, 0.0)
        attackers = [member for member in state.table if member.endpoint[:3] == at(7, 1)[:3]]
        assert 0 < len(attackers) <= at_most
        assert len(state.table) - len(attackers) == honest
        assert honest > 80
        for bucket in state.table.buckets:
            assert sum(member in attackers for member in bucket.contacts) <= 2


@pytest.mark.no_cover
def test_one_network_does_not_fill_an_empty_table() -> None:
    rng = Random(3)
    state = make256()
    for number in range(10_000):
        state.answered(Contact(NATIVE.random(rng), at(7, 1 + number % 254, 1 + number)), 0.1, 0.0)
    assert len(state.table) == 2  # all there is is one bucket
    full_of_strangers(state, 3_000, rng)
    assert len(state.table) > 80


def test_private_ranges_are_free_if_exempt() -> None:
    for policy, members in ((DEFAULT, 8), (Policy(exempt_networks=()), 2)):
        state = make(policy)
        for number in range(8):
            state.answered(contact(64 + number), 0.1, 0.0)
        assert len(state.table) == members


def test_a_stranger_without_room_is_not_pinged() -> None:
    state = make()
    for number in range(2):
        state.answered(Contact(Id(64 + number), at(1, number + 1)), 0.1, 0.0)
    assert not state.queried(Id(70), at(1, 9), 1.0)
    assert state.queried(Id(70), at(2, 9), 1.0)
    assert state.queried(Id(70), at(1, 1), 1.0)  # the node there has changed its ID: the old one would leave
    assert state.caps_hit[CONTACTS_PER_NETWORK_IN_BUCKET] == 1


def calls(act: Callable[[], object]) -> int:
    """Return the number of function calls: a measure of time that is the same on every machine."""
    count = 0

    def note(_frame: object, event: str, _argument: object) -> None:
        nonlocal count
        count += event == "call"

    sys.setprofile(note)
    try:
        act()
    finally:
        sys.setprofile(None)
    return count


def test_a_refusal_looks_at_few_of_the_bucket() -> None:
    """Otherwise a /24 could make each query cost eight times as much as an answer."""
    state = make(Policy(contacts_per_network_in_bucket=2))
    for number in range(2):
        state.answered(Contact(Id(64 + number), at(1, number + 1)), 0.1, 0.0)
    for number in range(2, 7):
        state.answered(Contact(Id(64 + number), at(number, 1)), 0.1, 0.0)
    stranger = at(1, 9)
    assert not state.queried(Id(90), stranger, 1.0)
    assert calls(lambda: state.queried(Id(90), stranger, 1.0)) <= 30


def test_recounting_contacts_takes_linear_time() -> None:
    state = make256()
    for number in range(800):
        endpoint = Endpoint(bytes((60, number >> 8, number & 255, 1)) + b"\6\xc1")
        state.answered(Contact(Id(state.table.own_id ^ (1 << 100 + number // 8) ^ number % 8), endpoint), 0.1, 0.0)
    assert len(state.table) > 700
    assert calls(lambda: state.live_in((b"<\0\0",))) < 60 * len(state.table)


def make_bad(state: RoutingState, victim: Contact, now: float) -> None:
    for _ in range(2):
        state.answered(Contact(Id(1), at(99, 1)), None, now + 0.1)
        state.timed_out(victim, sent_at=now)


def test_a_refusal_looks_at_no_bad_contacts() -> None:
    """A table may have hundreds of these, after an outage of many, and anybody can be beyond a cap."""
    counts = []
    for bad in (1, 30):
        state = make256(replace(DEFAULT, replacements=0))  # otherwise waiting nodes take the places of the bad ones
        full_of_strangers(state, 200, Random(1))
        beside_us, another = Id(state.table.own_id ^ 3), Id(state.table.own_id ^ 5)
        state.answered(Contact(beside_us, at(1, 1)), 0.1, 0.4)
        far = state.table.bucket(Id(1))  # in which `make_bad` has somebody answer
        for victim in [each for each in state.table if each.id not in far and each.id != beside_us][:bad]:
            make_bad(state, victim, 0.5)
        stranger = at(1, 1, 2)
        assert len(state.meta.bad) == bad
        assert not state.queried(another, stranger, 1.0)
        counts.append(calls(partial(state.queried, another, stranger, 1.0)))
    assert counts[0] == counts[1]


def test_bad_contacts_do_not_count_and_give_way() -> None:
    state = make()
    first, second, third = (Contact(Id(64 + number), at(1, number + 1)) for number in range(3))
    state.answered(first, 0.1, 0.0)
    state.answered(second, 0.1, 0.0)
    make_bad(state, second, 1.0)
    assert state.queried(*third, 2.0)
    assert state.answered(third, 0.1, 2.0) == Inserted()
    assert {first, third} <= set(state.table)
    assert second not in set(state.table)
    assert state.answered(second, 0.1, 3.0) == Crowded(CONTACTS_PER_NETWORK_IN_BUCKET)


def test_a_bad_one_elsewhere_makes_room() -> None:
    state = make(Policy(k=2, contacts_per_network=2))
    for id, network in ((1, 50), (2, 51), (40, 1), (100, 1)):
        assert state.answered(Contact(Id(id), at(network, id)), 0.1, 0.0) == Inserted()
    assert state.answered(Contact(Id(110), at(1, 110)), 0.1, 1.0) == Crowded(CONTACTS_PER_NETWORK)
    make_bad(state, Contact(Id(40), at(1, 40)), 2.0)
    assert state.queried(Id(110), at(1, 110), 3.0)
    assert state.answered(Contact(Id(110), at(1, 110)), 0.1, 3.0) == Inserted()
    assert {member.id for member in state.table if member.endpoint[2] == 1} == {100, 110}


def test_a_refused_claimant_evicts_no_bad_contact() -> None:
    """Bad contacts are kept for another try: they may be the other half of the network."""
    state = make()
    for number in range(2):
        state.answered(Contact(Id(64 + number), at(1, number + 1)), 0.1, 0.0)
    lost = Contact(Id(66), at(2, 1))
    state.answered(lost, 0.1, 0.0)
    make_bad(state, lost, 1.0)
    assert state.answered(Contact(lost.id, at(1, 3)), 0.1, 2.0) == Crowded(CONTACTS_PER_NETWORK_IN_BUCKET)
    assert state.table.get(lost.id) == lost
    assert state.answered(Contact(lost.id, at(3, 3)), 0.1, 2.0) == Inserted()
    assert state.table.get(lost.id) == Contact(lost.id, at(3, 3))
    changed = Contact(Id(67), at(1, 1))  # a node that changes its ID keeps its place for the new one
    assert state.answered(changed, 0.1, 2.0) == Inserted()
    assert state.table.get(Id(64)) is None


def test_the_evicted_bad_contact_is_a_counted_one() -> None:
    state = make(Policy(contacts_per_network=3))
    members = [Contact(Id(id), at(1, id)) for id in (40, 100)]
    for member in members:
        state.answered(member, 0.1, 0.0)
        make_bad(state, member, 1.0)
    elsewhere = Contact(Id(101), at(2, 1))
    state.answered(elsewhere, 0.1, 2.0)
    make_bad(state, elsewhere, 3.0)
    newcomer = Contact(Id(110), at(1, 100, port=9))  # the address of one of them
    assert state.answered(newcomer, 0.1, 4.0) == Inserted()
    assert {member.id for member in state.table} == {1, 40, 101, 110}


def test_a_bad_private_contact_makes_no_room() -> None:
    state = make()
    for number in range(2):
        state.answered(Contact(Id(64 + number), at(1, number + 1)), 0.1, 0.0)
    state.answered(contact(70), 0.1, 0.0)
    make_bad(state, contact(70), 1.0)
    assert state.answered(Contact(Id(66), at(1, 3)), 0.1, 2.0) == Crowded(CONTACTS_PER_NETWORK_IN_BUCKET)
    assert state.table.get(Id(70)) == contact(70)


def test_the_limits_hold_for_what_is_restored() -> None:
    state = make()
    restored = [state.restore(Contact(Id(64 + number), at(1, number + 1))) for number in range(5)]
    assert restored == [True, True, False, False, False]
    assert state.caps_hit[CONTACTS_PER_NETWORK_IN_BUCKET] == 3


FAR = Policy(k=3, replacements=3)


def with_a_full_bucket() -> RoutingState:
    state = make(FAR)
    for id in (1, 2, 4, 64, 80, 96):
        assert state.answered(Contact(Id(id), at(id, 1)), 0.1, 0.0) == Inserted()
    return state


def test_waiters_obey_the_limits_of_the_bucket() -> None:
    state = with_a_full_bucket()
    for id, network in ((70, 9), (71, 8), (72, 8), (73, 8)):
        assert state.answered(Contact(Id(id), at(network, id)), 0.1, 1.0) == Full()
    waiting = [waiter.id for waiter in state._line.of(state.table.bucket(Id(64)))]
    assert waiting == [73, 72, 70]  # and a node alone in its network was not crowded out


def test_waiters_enter_within_the_current_limits() -> None:
    state = with_a_full_bucket()
    state.answered(Contact(Id(70), at(80, 70)), 0.1, 1.0)
    for id in (71, 72):
        assert state.answered(Contact(Id(id), at(64, id)), 0.1, 2.0) == Full()
    leaving = Contact(Id(96), at(96, 1))
    make_bad(state, leaving, 3.0)
    assert state.table.get(Id(72)) is not None  # 64 and 72 are two of one network now ...
    make_bad(state, Contact(Id(80), at(80, 1)), 4.0)
    assert state.table.get(Id(71)) is None  # ... so it is not 71, which answered later, ...
    assert state.table.get(Id(70)) is not None  # ... but a contact that takes the place of one of its own network


def test_a_claimant_enters_only_within_the_limits() -> None:
    state = make()
    for id, network in ((64, 1), (65, 1), (66, 2)):
        state.answered(Contact(Id(id), at(network, id)), 0.1, 0.0)
    claimed = Contact(Id(66), at(2, 66))
    assert state.answered(Contact(Id(66), at(1, 99)), 0.1, 100.0) == Contested(claimed)
    make_bad(state, claimed, 101.0)
    assert claimed in set(state.table)
    assert state.answered(Contact(Id(65), at(1, 100)), 0.1, 200.0) == Contested(Contact(Id(65), at(1, 65)))
    make_bad(state, Contact(Id(65), at(1, 65)), 201.0)
    assert state.table.get(Id(65)) == Contact(Id(65), at(1, 100))  # a place of its own network is free


@pytest.mark.no_cover
def test_counts_keep_step_with_the_table() -> None:
    rng = Random(4)
    policy = Policy(k=4, contacts_per_network=3, bad_after=0, id_change=0.0)
    state = RoutingState(Id(0), CODEC, policy, 0.0)
    networks = outside(policy.exempt_networks)
    seen: Counter[str] = Counter()
    for step in range(8_000):
        now = float(step)
        someone = Contact(Id(rng.randrange(128)), at(rng.randrange(6), rng.randrange(1, 5), rng.randrange(1, 4)))
        match rng.randrange(6):
            case 0 | 1 | 2:
                seen[type(state.answered(someone, None, now)).__name__] += 1
            case 3:
                state.restore(someone)
            case 4:
                state.moved(someone.id, someone.endpoint)
            case _:
                for member in rng.sample(list(state.table), min(2, len(state.table))):
                    state.timed_out(member, now - 1.5)
        counted: Counter[bytes] = Counter()
        for member in state.table:
            counted.update(networks.party(member.endpoint) or ())
        assert state._diversity._counts == counted
        assert all(count <= (1 if len(party) == 4 else 3) for party, count in counted.items())
        for bucket in state.table.buckets:
            beside = Counter(member.endpoint[:3] for member in bucket.contacts)
            assert max(beside.values(), default=0) <= 2
    assert {"Inserted", "Replaced", "Crowded", "Contested", "Known"} <= set(seen)
    assert (
        min(state.caps_hit[limit] for limit in (CONTACTS_PER_IP, CONTACTS_PER_NETWORK, CONTACTS_PER_NETWORK_IN_BUCKET))
        > 100
    )


# A lookup


def party(endpoint: Endpoint) -> Party | None:
    return outside(DEFAULT.exempt_networks).party(endpoint)


def test_an_address_has_one_place_in_a_lookup() -> None:
    quota = Quota(DEFAULT)
    quota.hold(party(at(1, 1)))
    assert quota.cap_reached(party(at(1, 1, 9))) == LOOKUP_PER_IP
    assert quota.cap_reached(party(at(1, 2))) is None
    quota.hold(party(at(1, 2)))
    assert quota.cap_reached(party(at(1, 3))) == LOOKUP_PER_NETWORK
    assert quota.cap_reached(party(at(2, 3))) is None
    quota.free(party(at(1, 1)))
    assert quota.cap_reached(party(at(1, 3))) is None


def test_a_site_has_twice_the_places_of_a_network() -> None:
    quota = Quota(DEFAULT)
    for number in range(4):
        assert quota.cap_reached(party(six(1, number))) is None
        quota.hold(party(six(1, number)))
    assert quota.cap_reached(party(six(1, 4))) == LOOKUP_PER_NETWORK
    assert quota.cap_reached(party(six(2, 4))) is None
    assert quota.has_place(party(six(1, 9)) or ())
    assert not quota.has_place(party(six(2, 4)) or ())


def test_a_site_has_four_a_bucket_and_twenty() -> None:
    state = RoutingState(Id(0), NativeCodec(), DEFAULT, 0.0)
    for number in range(6):
        state.answered(Contact(Id(2**255 + number), six(1, number)), None, 0.0)
    assert len(state.table) == 4
    assert state.caps_hit[CONTACTS_PER_NETWORK_IN_BUCKET] == 2
    counts = Diversity(DEFAULT)
    for number in range(20):
        assert counts.cap_reached(six(1, number), []) is None
        counts.add(six(1, number))
    assert counts.cap_reached(six(1, 20), []) == CONTACTS_PER_NETWORK
    assert counts.cap_reached(six(1, 20), [], [Contact(Id(1), six(1, 3))]) is None
    assert counts.cap_reached(six(2, 20), []) is None


def test_a_sites_bad_contact_makes_room_there() -> None:
    state = RoutingState(Id(0), NativeCodec(), replace(DEFAULT, bad_after=0), 0.0)
    members = [Contact(Id(2**255 + number), six(1, number)) for number in range(5)]
    for member in members[:4]:
        state.answered(member, None, 0.0)
    state.answered(Contact(Id(1), six(2, 1)), None, 5.0)
    state.timed_out(members[0], 1.0)
    assert state.answered(members[4], None, 6.0) == Inserted()
    assert state.table.get(members[0].id) is None


def six(site: int, network: int) -> Endpoint:
    return Endpoint.of(f"2001:db8:{site:x}:{network:x}::1", 1729)


def test_private_addresses_are_unlimited() -> None:
    quota = Quota(DEFAULT)
    for number in range(9):
        quota.hold(party(contact(number).endpoint))
        assert quota.cap_reached(party(contact(number).endpoint)) is None


def search(*seeds: Contact, policy: Policy = DEFAULT, patient: bool = False) -> Search:
    searching = Search(Id(0), Id(127), policy, patient=patient)
    searching.seed(seeds)
    return searching


def asks(searching: Search) -> list[int]:
    asked = []
    while isinstance(step := searching.next(), Ask):
        asked.append(int(step.contact.id))
    return asked


def test_a_lookup_takes_two_of_one_network() -> None:
    near = [Contact(Id(id), at(1, id)) for id in range(1, 9)]
    far = [Contact(Id(100 + id), at(2 + id, 1)) for id in range(8)]
    searching = search(*near, *far)
    assert asks(searching) == [1, 2, 100, 101]
    for one in (*near[:2], *far[:2]):
        searching.answered(one)
    assert asks(searching) == [102, 103, 104, 105]
    for one in far[2:6]:
        searching.answered(one)
    assert searching.next() == Finished()
    assert searching.crowded_out() == {LOOKUP_PER_NETWORK: 6}


def test_of_one_address_a_lookup_asks_one() -> None:
    searching = search(Contact(Id(1), at(1, 1)), Contact(Id(2), at(1, 1, 9)), Contact(Id(3), at(2, 1)))
    assert asks(searching) == [1, 3]
    assert searching.crowded_out() == {LOOKUP_PER_IP: 1}


def test_unanswered_nodes_take_no_place() -> None:
    liar, honest = Contact(Id(50), at(9, 1)), Contact(Id(40), at(1, 40))
    searching = search(liar, policy=Policy(k=8, alpha=2))
    assert asks(searching) == [50]
    searching.learn(liar.endpoint, [*(Contact(Id(id), at(1, id)) for id in (1, 2, 3)), honest])
    searching.answered(liar)
    assert asks(searching) == [1, 2]
    searching.slow(at(1, 1))
    assert asks(searching) == [3]
    searching.failed(at(1, 2), timeout=True)
    assert asks(searching) == [40]
    searching.slow(at(1, 3))
    searching.answered(honest)
    for late in (1, 2, 3):
        if late != 2:
            searching.late(at(1, late))
    assert searching.next() == Finished()
    assert searching.closest() == [honest, liar]


def test_a_late_answer_finds_its_places_taken() -> None:
    near = [Contact(Id(id), at(1, id)) for id in range(1, 5)]
    searching = search(*near)
    assert asks(searching) == [1, 2]
    searching.slow(at(1, 1))
    searching.slow(at(1, 2))
    assert asks(searching) == [3, 4]
    for one in near[::-1]:
        searching.answered(one)
    assert searching.closest() == near[2:]
    assert searching.next() == Finished()


def test_an_accomplice_takes_its_networks_place() -> None:
    searching = search(*(Contact(Id(id), at(1, id)) for id in (1, 2, 3)))
    assert asks(searching) == [1, 2]
    searching.answered(Contact(Id(9), at(1, 1)))
    assert searching.next() == Wait()
    assert asks(searching) == []


# Contacts asked beside, at the end


def test_a_patient_search_asks_more_own_contacts() -> None:
    liars, own = [contact(id) for id in (1, 2, 3)], [contact(id) for id in (60, 61, 62, 63)]
    policy = Policy(k=3, alpha=2, search_opinions=3)
    searching = search(*liars, *own, policy=policy, patient=True)
    assert asks(searching) == [1, 2]
    for liar in liars[:2]:
        searching.learn(liar.endpoint, liars)
        searching.answered(liar)
    assert asks(searching) == [3]
    searching.answered(liars[2])
    assert asks(searching) == [60, 61]  # alpha at once
    assert searching.next() == Wait()
    searching.learn(own[0].endpoint, [contact(0, machine=70)])
    searching.answered(own[0])
    assert asks(searching) == [0]  # no liar has named this one
    searching.failed(own[1].endpoint, timeout=True)
    searching.answered(contact(0, machine=70))
    assert asks(searching) == [62]
    searching.answered(own[2])
    assert searching.next() == Finished()  # three opinions are in
    assert [one.id for one in searching.closest()][:3] == [0, 1, 2]


def test_a_patient_find_asks_only_own_contacts() -> None:
    policy = Policy(k=1, alpha=2)
    searching = search(contact(1), contact(60), policy=policy)
    assert asks(searching) == [1]
    searching.learn(contact(1).endpoint, [contact(30)])
    searching.answered(contact(1))
    assert searching.next() == Finished()
    searching.patient = True
    assert asks(searching) == [60]  # 30 is hearsay
    searching.slow(contact(60).endpoint)
    assert searching.next() == Finished()


def test_opinions_keep_to_the_bound_of_queries() -> None:
    searching = search(contact(1), contact(60), policy=Policy(k=1, alpha=1, search_queries=1), patient=True)
    assert asks(searching) == [1]
    searching.answered(contact(1))
    assert searching.next() == Finished()
    assert searching.crowded_out() == {}  # the contact left was not kept out by a limit


def test_a_leaving_exempt_contact_makes_no_room() -> None:
    state = make(Policy(k=4, contacts_per_network=1, exempt_networks=("10.0.0.0/8",)))
    state.answered(Contact(Id(64), at(1, 1)), 0.1, 0.0)
    full = state._diversity.cap_reached(at(1, 2), [], [contact(96)])
    assert full == CONTACTS_PER_NETWORK
    assert state._diversity.cap_reached(at(1, 2), [], [contact(96), Contact(Id(64), at(1, 1))]) is None
