"""The iterative lookup, against an oracle that knows the whole network."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhtd.core.ids import Id, Keyspace
from dhtd.core.messages import Contact
from dhtd.core.policy import DEFAULT, Policy
from dhtd.core.querying.search import Search
from dhtd.core.querying.steps import Ask, Finished, SearchStats, Wait
from tests.core.querying.small_search import ask, asks, make
from tests.core.small import SEVEN, contact, endpoint, six
from tests.strategies import ids

US = Id(0)


def test_a_search_without_contacts_is_over() -> None:
    search = make()
    assert search.next() == Finished()
    assert search.closest() == []
    assert search.stats() == SearchStats(hops=0, queries=0, responses=0, timeouts=0)


def test_alpha_of_the_nearest_are_asked_first() -> None:
    search = make(40, 10, 30, 20, 50)
    assert asks(search) == [10, 20]
    assert search.next() == Wait()


def test_nearness_is_to_the_target_not_to_us() -> None:
    assert asks(make(1, 2, 100, 101, target=101, own_id=0)) == [101, 100]


def test_each_answer_frees_a_slot() -> None:
    search = make(40, 10, 30, 20, 50)
    asks(search)
    search.answered(contact(10))
    assert asks(search) == [30]
    search.learn(endpoint(20), [contact(5)])
    search.answered(contact(20))
    assert asks(search) == [5]


def test_a_full_node_is_none_of_the_nearest() -> None:
    search = make(10, 20, 30, 40, 50)
    asks(search)
    search.learn(endpoint(10), [contact(5)])
    search.answered(contact(10), is_full=True)
    assert asks(search) == [5]  # the names in its answer count
    search.answered(contact(5))
    search.answered(contact(20))
    assert asks(search) == [30]
    search.answered(contact(30))
    assert search.next() == Finished()
    assert search.closest() == [contact(5), contact(10), contact(20), contact(30)]
    assert search.stats() == SearchStats(hops=2, queries=4, responses=4, timeouts=0)


def test_a_search_among_full_nodes_ends() -> None:
    search = make(10, 20)
    asks(search)
    search.answered(contact(10), is_full=True)
    assert search.next() == Wait()
    search.answered(contact(20), is_full=True)
    assert search.next() == Finished()


def test_at_most_twice_alpha_are_in_flight() -> None:
    search = make(60, 61)
    assert asks(search) == [60, 61]
    for who, names, asked in (
        (60, [30, 31, 32], [30, 31]),
        (30, [10, 11, 12], [10, 11]),
        (10, [1, 2, 3], [1]),
    ):
        search.learn(endpoint(who), [contact(id) for id in names])
        search.answered(contact(who))
        assert asks(search) == asked
    assert search.next() == Wait()  # 61, 31, 11 and 1
    search.slow(endpoint(61))
    assert asks(search) == [2]


def test_it_ends_when_the_k_nearest_have_answered() -> None:
    search = make(10, 20, 30, 40, 50)
    for id in (10, 20):
        assert ask(search) == id
        search.answered(contact(id))
    assert ask(search) == 30
    assert search.next() == Wait()
    search.answered(contact(30))
    assert search.next() == Finished()
    assert [member.id for member in search.closest()] == [10, 20, 30]


def test_the_next_nearest_replaces_a_failed_node() -> None:
    search = make(10, 20, 30, 40, 50)
    assert asks(search) == [10, 20]
    search.failed(endpoint(10), timeout=True)
    search.failed(endpoint(20), timeout=False)
    assert asks(search) == [30, 40]
    for id in (30, 40):
        search.answered(contact(id))
    assert ask(search) == 50
    search.answered(contact(50))
    assert search.next() == Finished()
    assert [member.id for member in search.closest()] == [30, 40, 50]
    assert search.stats() == SearchStats(hops=1, queries=5, responses=3, timeouts=1)


def test_a_slow_node_is_waited_for_until_late() -> None:
    search = make(10, 20, 30, 40, 50)
    assert asks(search) == [10, 20]
    search.slow(endpoint(10))
    assert ask(search) == 30
    search.answered(contact(20))
    search.answered(contact(30))
    assert ask(search) == 40
    search.answered(contact(40))
    assert search.next() == Wait()
    search.late(endpoint(10))
    assert search.next() == Finished()


def test_a_slow_node_too_far_is_not_waited_for() -> None:
    search = make(10, 20, 30)
    assert asks(search) == [10, 20]
    search.slow(endpoint(20))
    search.learn(endpoint(10), [contact(1), contact(2)])
    search.answered(contact(10))
    assert asks(search) == [1, 2]
    search.answered(contact(1))
    search.answered(contact(2))
    assert search.next() == Finished()


def test_a_late_answer_before_the_end_counts() -> None:
    search = make(10, 20, 30, 40)
    asks(search)
    search.slow(endpoint(10))
    search.learn(endpoint(10), [contact(1)])
    search.answered(contact(10))
    assert asks(search) == [1]
    search.answered(contact(1))
    search.answered(contact(20))
    assert search.next() == Finished()
    assert [member.id for member in search.closest()] == [1, 10, 20]


def test_an_answered_contact_cannot_turn_slow() -> None:
    search = make(10, 20, 30)
    asks(search)
    search.answered(contact(10))
    search.slow(endpoint(10))
    assert [member.id for member in search.closest()] == [10]


def test_without_answers_slow_nodes_are_waited_for() -> None:
    search = make(10, 20)
    asks(search)
    search.slow(endpoint(10))
    search.slow(endpoint(20))
    assert search.next() == Wait()
    search.failed(endpoint(10), timeout=True)
    assert search.next() == Wait()
    search.failed(endpoint(20), timeout=True)
    assert search.next() == Finished()


@pytest.mark.parametrize(("patient", "then"), [(False, Finished()), (True, Wait())])
def test_only_a_patient_search_waits_for_late_nodes(patient: bool, then: Wait | Finished) -> None:
    search = make(10, 20, patient=patient)
    asks(search)
    search.slow(endpoint(10))
    search.answered(contact(20))
    assert search.next() == Wait()
    search.late(endpoint(10))
    assert search.next() == then
    search.failed(endpoint(10), timeout=True)
    assert search.next() == Finished()


def test_after_k_answers_no_patience_is_needed() -> None:
    search = make(10, 20, 30, 40, patient=True)
    asks(search)
    search.slow(endpoint(10))
    search.late(endpoint(10))
    for id in (20, 30, 40):
        asks(search)
        search.answered(contact(id))
    assert search.next() == Finished()


def test_patience_may_end_in_the_middle() -> None:
    search = make(10, 20, patient=True)
    asks(search)
    search.slow(endpoint(10))
    search.late(endpoint(10))
    search.answered(contact(20))
    assert search.next() == Wait()
    search.patient = False
    assert search.next() == Finished()


def test_a_false_endpoint_hides_no_true_one() -> None:
    search = make(10, 20)
    assert asks(search) == [10, 20]
    search.learn(endpoint(10), [contact(5, machine=99)])
    search.answered(contact(10))
    assert search.next() == Ask(contact(5, machine=99))
    search.learn(endpoint(20), [contact(5)])
    search.answered(contact(20))
    assert search.next() == Ask(contact(5))


def test_a_false_id_hides_no_true_one() -> None:
    search = make(10, 20, 30, 40)
    assert asks(search) == [10, 20]
    search.learn(endpoint(10), [contact(126, machine=5)])
    search.answered(contact(10))
    search.learn(endpoint(20), [contact(5)])
    search.answered(contact(20))
    assert asks(search) == [5]  # and then enough are on their way


def test_an_unexpected_node_counts_under_its_own_id() -> None:
    search = make(10, 20)
    assert asks(search) == [10, 20]
    search.learn(endpoint(10), [contact(11, machine=10), contact(3)])
    search.answered(contact(11, machine=10))
    assert search.next() == Ask(contact(3))
    search.answered(contact(3))
    search.answered(contact(20))
    assert search.next() == Finished()
    assert [member.id for member in search.closest()] == [3, 11, 20]
    assert search.stats() == SearchStats(hops=2, queries=3, responses=3, timeouts=0)


def test_an_answer_under_our_id_is_none() -> None:
    search = make(10, 20)
    asks(search)
    search.answered(contact(127, machine=10))
    search.answered(contact(20))
    assert search.next() == Finished()
    assert search.closest() == [contact(20)]


def test_surplus_contacts_of_an_answer_are_ignored() -> None:
    search = make(100, policy=Policy(k=2))
    asks(search)
    search.learn(endpoint(100), [contact(id) for id in range(9, 0, -1)])
    search.answered(contact(100))
    assert [member.contact.id for member in search.candidates.order] == [1, 2, 3, 4, 100]


def test_hops_count_from_our_own_contacts() -> None:
    search = make(64)
    for id in (64, 32, 16):
        assert ask(search) == id
        search.learn(endpoint(id), [contact(id // 2)])
        search.answered(contact(id))
    assert search.stats().hops == 3
    assert ask(search) == 8
    assert search.stats() == SearchStats(hops=3, queries=4, responses=3, timeouts=0)


@dataclass
class Network:
    """Every node, its contacts, and its behaviour; drives one search to its end."""

    known: dict[Contact, list[Contact]]
    dead: set[Contact]
    slow: set[Contact]
    asked: list[Contact] = field(default_factory=list)

    def run(self, search: Search, policy: Policy, rng: Random) -> None:
        in_flight: list[Contact] = []
        late: list[Contact] = []
        for _ in range(10_000):
            step = search.next()
            if isinstance(step, Ask):
                assert step.contact not in self.asked
                self.asked.append(step.contact)
                in_flight.append(step.contact)
                nearest = sorted(
                    (candidate.contact for candidate in search.candidates.order),
                    key=lambda member: member.id ^ search.target,
                )
                gone = {member for member in nearest if search.candidates[member].progress.name in ("FAILED", "SLOW")}
                among_nearest = [member for member in nearest if member not in gone][: policy.k]
                assert sum(member in among_nearest for member in in_flight) <= policy.alpha
                continue
            if isinstance(step, Finished):
                return
            assert in_flight or late, "the search waits for nobody"
            if in_flight and (not late or rng.random() < 0.8):
                member = in_flight.pop(rng.randrange(len(in_flight)))
                if member in self.slow:
                    search.slow(member.endpoint)
                    late.append(member)
                    continue
            else:
                member = late.pop(rng.randrange(len(late)))
            if member in self.dead:
                search.failed(member.endpoint, timeout=True)
            else:
                search.learn(member.endpoint, self.known[member])
                search.answered(member)
        raise AssertionError("the search does not end")


def nearest_known(members: list[Contact], from_id: Id, rng: Random) -> list[Contact]:
    """Return the contacts of a Kademlia node: K of each distance class, all of the nearest."""
    by_class: dict[int, list[Contact]] = {}
    for member in members:
        if member.id != from_id:
            by_class.setdefault((member.id ^ from_id).bit_length(), []).append(member)
    return [kept for one_class in by_class.values() for kept in rng.sample(one_class, min(8, len(one_class)))]


@pytest.mark.no_cover
@pytest.mark.parametrize("seed", range(25))
def test_it_finds_the_k_closest_of_a_network(seed: int) -> None:
    rng = Random(seed)
    wide = Keyspace(32)
    everyone = [Contact(wide.random(rng), endpoint(number)) for number in range(300)]
    known = {member: nearest_known(everyone, member.id, rng) for member in everyone}
    target = wide.random(rng)

    def answer(of: Contact) -> list[Contact]:
        return sorted(known[of], key=lambda member: member.id ^ target)[: DEFAULT.k]

    search = Search(target, wide.random(rng), DEFAULT)
    search.seed(rng.sample(everyone, 3))
    network = Network({member: answer(member) for member in known}, dead=set(), slow=set())
    network.run(search, DEFAULT, rng)
    truth = sorted(everyone, key=lambda member: member.id ^ target)[: DEFAULT.k]
    assert search.closest()[: DEFAULT.k] == truth
    assert len(network.asked) < 60
    assert search.stats().queries == len(network.asked)


@given(st.data(), st.booleans(), st.integers(1, 4), st.integers(1, 4), st.integers(0, 1000))
def test_it_finds_the_closest_that_it_can_reach(
    data: st.DataObject, patient: bool, k: int, alpha: int, seed: int
) -> None:
    policy = Policy(k=k, alpha=alpha)
    everyone = [contact(id) for id in data.draw(st.lists(ids(SEVEN), unique=True, min_size=1, max_size=30))]
    target = data.draw(ids(SEVEN))
    rng = Random(seed)
    known = {member: [rng.choice(everyone) for _ in range(rng.randint(0, 6))] for member in everyone}
    dead = {member for member in everyone if rng.random() < 0.3}
    slow = {member for member in everyone if rng.random() < 0.2}
    seeds = rng.sample(everyone, min(len(everyone), 3))
    own_id = data.draw(ids(SEVEN))
    search = Search(target, own_id, policy, patient=patient)
    search.seed(seeds)
    network = Network(known, dead, slow)
    network.run(search, policy, rng)

    def by_nearness(members: Iterable[Contact]) -> list[Contact]:
        return sorted(members, key=lambda member: member.id ^ target)

    answered = search.closest()
    asked = set(network.asked)
    assert own_id not in {member.id for member in asked}
    assert answered == by_nearness(answered)
    assert set(answered) <= asked - dead
    stats = search.stats()
    assert stats.queries == len(network.asked) == len(asked)
    assert stats.responses == len(answered)
    assert stats.timeouts <= len(dead & asked)
    # Every node that an answer named, and that is nearer than the K-th answer, was asked, too, unless
    # its namer has named too many that did not answer.
    taken = {
        member: {other for other in by_nearness(known[member])[: 2 * k] if other.id != own_id} for member in answered
    }
    credible = [names for names in taken.values() if len(names & (dead | slow)) < alpha]
    own = {member for member in seeds if member.id != own_id}
    bound = (answered[k - 1].id ^ target) if len(answered) >= k else SEVEN.size
    missed = {member for member in own.union(*credible) - asked if member.id ^ target < bound}
    assert not missed
    if patient and len(answered) < k:
        assert asked == own.union(*taken.values())
        assert set(answered) == asked - dead


def test_a_node_with_a_slot_does_not_turn_late() -> None:
    search = make(10, 20)
    assert asks(search) == [10, 20]
    search.late(endpoint(10))  # the rest of its answer is, which a query of its own asks for
    search.answered(contact(20))
    assert search.next() == Wait()
    search.answered(contact(10))
    assert search.next() == Finished()


def test_a_search_is_silent_when_slots_are_late() -> None:
    search = Search(Id(0), Id(127), replace(DEFAULT, alpha=2))
    search.seed(map(six, range(1, 5)))
    assert search.is_silent(), "nobody was asked, and so nobody is waited for"
    for step in (search.next(), search.next()):
        assert isinstance(step, Ask)
    search.slow(six(1).endpoint)
    search.late(six(1).endpoint)
    assert not search.is_silent()
    search.failed(six(2).endpoint, timeout=True)
    assert search.is_silent()
    search.answered(six(1))
    assert not search.is_silent()


def test_the_other_familys_names_are_limited_too() -> None:
    search = Search(Id(0), Id(127), replace(DEFAULT, k=2))
    search.hear(contact(9).endpoint, map(six, range(20, 1, -1)), 3)
    assert [candidate.contact for candidate in search.candidates.order] == [six(2), six(3), six(4), six(5)]
    assert {candidate.hops for candidate in search.candidates.order} == {3}
