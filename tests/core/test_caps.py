"""The caps: everything that a stranger or a client could make grow stays within its number, and is counted by name."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from dhtd.core import counters
from dhtd.core.endpoint import Endpoint
from dhtd.core.events import Answered, Bootstrapped, LookupDone, Published, Unanswered
from dhtd.core.ids import Id
from dhtd.core.messages import Contact, Error, FindNode, FindValue, Found, Ping, Put, Reply, Store
from dhtd.core.policy import DEFAULT, Policy
from dhtd.core.records import Immutable, Value
from dhtd.core.storage.value_shares import COUNTED, VALUE_WEIGHT
from dhtd.errors import Busy, TooManyEntries, TooManyValues
from tests.core.bench import QUIET, Bench
from tests.core.small import contact, endpoint
from tests.records import hold_peer, own_key
from tests.values import by_owner

KEY = Id(64)


def hit(bench: Bench) -> dict[str, int]:
    return {cap: hits for cap, hits in bench.node.counters.caps_hit.items() if hits}


def test_the_page_says_how_values_are_weighed() -> None:
    page = " ".join((Path(__file__).parents[2] / "man" / "dhtd.8").read_text(encoding="utf-8").split())
    assert f"A value weighs its bytes, {COUNTED} at least, and {VALUE_WEIGHT} more" in page


def test_policy_and_manual_list_the_same_caps() -> None:
    page = (Path(__file__).parents[2] / "man" / "dhtd.8").read_text(encoding="utf-8")
    section = page.partition(".Sh CAPS\n")[2].partition("\n.Sh ")[0]
    listed = dict(re.findall(r"^\.It (\w+) Ta (\d+) Ta ", section, re.MULTILINE))
    assert listed == {cap: f"{getattr(DEFAULT, cap):g}" for cap in counters.CAPS}
    assert list(Bench().node.counters.caps_hit) == list(counters.CAPS)


# Commands


def test_excess_commands_are_refused() -> None:
    bench = Bench(policy=replace(QUIET, operations=3))
    bench.know(contact(5))
    for _ in range(2):
        bench.node.commands.ping(endpoint(9), bench.now)
    gone = bench.node.commands.enter(KEY, 80, bench.now)
    bench.node.commands.cancel(gone)  # its client has hung up, which frees nothing: it goes on
    for _ in range(5):
        with pytest.raises(Busy, match=r"as many operations are under way as are taken at once \(3\)"):
            bench.node.commands.lookup(KEY, bench.now)
    with pytest.raises(Busy):
        bench.node.commands.bootstrap([endpoint(9)], bench.now)
    with pytest.raises(Busy):
        bench.node.commands.store_at(endpoint(9), KEY, 80, b"token", bench.now)
    assert len(bench.sent()) == 3
    assert hit(bench) == {"operations": 7}
    bench.advance(10)
    assert sum(isinstance(event, Unanswered) for event in bench.events()) == 2
    bench.node.commands.lookup(KEY, bench.now)
    bench.sent()
    assert bench.node.handles.running


def test_every_command_ends() -> None:
    bench = Bench()
    bench.know(contact(5))
    bench.node.commands.ping(endpoint(5), bench.now)
    bench.pong(bench.sent_one(), 5)
    bench.node.commands.bootstrap([endpoint(5)], bench.now)
    bench.pong(bench.sent_one(), 5)
    bench.found(bench.sent_one(), 5)
    bench.found(bench.sent_one(), 5)  # the introduction
    bench.node.commands.lookup(KEY, bench.now)
    bench.found(bench.sent_one(), 5)
    first = bench.node.commands.enter(KEY, 80, bench.now)
    second = bench.node.commands.enter(KEY, 80, bench.now)  # waits for the same publication
    assert bench.node.handles.running == {first, second}
    bench.found(bench.sent_one(), 5)
    bench.pong(bench.sent_one(), 5)
    kinds = {type(event) for event in bench.events()}
    assert {Answered, Bootstrapped, LookupDone, Published} <= kinds
    assert bench.node.handles.running == set()
    withdrawal, _ = bench.node.commands.delete(KEY, None, bench.now)
    assert bench.node.handles.running == {withdrawal}
    bench.advance(10)
    assert bench.node.commands.delete(KEY, None, bench.now)[1] == []
    assert bench.node.handles.running == set()


def test_excess_own_entries_are_refused() -> None:
    bench = Bench(policy=replace(QUIET, own_entries=2))
    for key in (1, 2):
        bench.node.commands.enter(Id(key), 80, bench.now)
    with pytest.raises(TooManyEntries, match=r"as many entries as it takes \(2\)"):
        bench.node.commands.enter(Id(3), 80, bench.now)
    bench.node.commands.enter(Id(1), 80, bench.now)
    assert [entry.key for entry in bench.node.own_records] == [1, 2]
    assert hit(bench) == {"own_entries": 1}
    bench.node.publisher.restore_own(
        own_key(Id(3), 80), bench.now
    )  # what was entered once is not lost because the number was lowered
    assert len(bench.node.own_records) == 3
    bench.node.commands.enter(Id(3), 80, bench.now)  # nor refused when it is entered again


def test_many_entries_find_room_together() -> None:
    bench = Bench(policy=replace(QUIET, own_entries=3, own_ports=2))
    bench.node.commands.track([own_key(KEY, 80)], bench.now)
    check_room = bench.node.commands.check_room
    check_room(own_key(KEY, 80), own_key(KEY, 81), own_key(KEY, 81), own_key(Id(5), 80))
    for _ in range(2):
        with pytest.raises(TooManyEntries, match=r"on as many ports as it takes \(2\)"):
            check_room(own_key(KEY, 81), own_key(KEY, 82))
        with pytest.raises(TooManyEntries, match=r"as many entries as it takes \(3\)"):
            check_room(own_key(KEY, 81), own_key(Id(5), 80), own_key(Id(6), 80))
    assert hit(bench) == {"own_ports": 2, "own_entries": 2}


def test_excess_ports_of_a_key_are_refused() -> None:
    bench = Bench(policy=replace(QUIET, own_ports=2))
    for port in (80, 81):
        bench.node.commands.enter(KEY, port, bench.now)
    with pytest.raises(TooManyEntries, match=r"on as many ports as it takes \(2\)"):
        bench.node.commands.enter(KEY, 82, bench.now)
    bench.node.commands.enter(KEY, 81, bench.now)
    bench.node.commands.enter(Id(5), 82, bench.now)
    assert hit(bench) == {"own_ports": 1}


def test_the_latest_possible_holders_are_kept() -> None:
    bench = Bench(policy=replace(QUIET, k=4, entry_holders=3))
    bench.know(*map(contact, (1, 2, 3, 4)))
    bench.node.commands.enter(KEY, 80, bench.now)
    for sent in bench.sent():
        assert isinstance(sent.request, FindNode)
        bench.found(sent, sent.to[3])
    stores = bench.sent()
    assert [type(sent.request) for sent in stores] == [Store] * 4
    entry = bench.node.own_records.get(own_key(KEY, 80))
    assert entry is not None
    assert [holder.endpoint for holder in entry.holders(bench.now)] == [sent.to for sent in stores[1:]]
    assert hit(bench) == {"entry_holders": 1}


# Values


def test_excess_own_values_are_refused() -> None:
    bench = Bench(policy=replace(QUIET, own_values=1))
    bench.node.commands.put(KEY, by_owner(1), bench.now)
    for _ in range(2):
        with pytest.raises(TooManyValues, match=r"as many values as it takes \(1\)"):
            bench.node.commands.check_value_room(Id(5))
    bench.node.commands.check_value_room(KEY)
    assert hit(bench) == {"own_values": 2}


@pytest.mark.parametrize(
    ("cap", "number"),
    [("values", 1), ("value_kib", 0), ("values_per_source", 1), ("value_kib_per_source", 0)],
)
def test_excess_values_of_others_are_refused(cap: str, number: int) -> None:
    bench = Bench(policy=replace(QUIET, **{cap: number}))  # type: ignore[arg-type]
    source = contact(5) if cap == "values_per_source" else contact(6)
    answers = [put(bench, Immutable(b"one"), contact(5)), put(bench, Immutable(b"another"), source)]
    refused = [answer for answer in answers if isinstance(answer, Error)]
    assert {answer.code for answer in refused} == {202}
    assert hit(bench) == {cap: len(refused)}
    assert len(bench.node.values.held) == 2 - len(refused)


def test_a_value_that_gave_way_is_counted() -> None:
    bench = Bench(policy=replace(QUIET, values=2))
    for data in (b"1", b"2"):
        put(bench, Immutable(data), contact(5))
    assert isinstance(put(bench, Immutable(b"3"), contact(6)), Reply)
    assert hit(bench) == {"values": 1}


def test_signatures_have_a_rate() -> None:
    one = Bench(policy=replace(QUIET, signatures_per_source=1.0, rate_burst=2.0))
    answers = [put(one, by_owner(seq), contact(5)) for seq in range(1, 6)]
    assert [isinstance(answer, Reply) for answer in answers] == [True, True, False, False, False]
    assert isinstance(put(one, by_owner(9), contact(6)), Reply)
    assert hit(one) == {"signatures_per_source": 3}
    every = Bench(policy=replace(QUIET, signatures=4.0, rate_burst=1.0, rate_reserve=0.0))
    taken = [isinstance(put(every, by_owner(1 + number), contact(number)), Reply) for number in range(5, 12)]
    assert taken.count(True) == 4
    assert hit(every) == {"signatures": 3}


def put(bench: Bench, value: Value, source: Contact) -> Reply | Error | None:
    """Put a value with a good token."""
    key = bench.codec.key_of(value)
    token = bench.node.responder._tokens.issue(source.endpoint.ip, key.to_bytes(1, "big"), bench.now)
    return bench.query(Put(key, token, value, None, 60), source)


# The behaviour of others


def test_an_overlong_answer_is_cut() -> None:
    bench = Bench(policy=replace(QUIET, lookup_endpoints=2))
    bench.know(contact(5))
    for many in (2, 3):
        bench.node.commands.lookup(KEY, bench.now)
        bench.found(bench.sent_one(), 5, endpoints=[endpoint(number) for number in range(20, 20 + many)])
        assert bench.event(LookupDone).endpoints == (endpoint(20), endpoint(21))
    assert hit(bench) == {"lookup_endpoints": 1}


def test_no_answer_of_this_program_is_cut() -> None:
    bench = Bench(policy=QUIET)
    for number in range(1_000):
        hold_peer(bench.node.store, KEY, Endpoint.of(f"10.1.{number >> 8}.{number & 255}", 80), bench.now)
    answer = bench.deliver(bench.codec.encode_query(bytes(8), Id(5), FindValue(KEY)), endpoint(5))
    assert answer is not None
    reply = bench.codec.decode(answer)
    assert isinstance(reply, Reply)
    found = bench.codec.decode_result(FindValue(KEY), reply.body)
    assert isinstance(found, Found)
    assert 0.8 * DEFAULT.lookup_endpoints < len(found.endpoints) <= DEFAULT.lookup_endpoints


def test_a_lookup_at_its_limits_says_so() -> None:
    bench = Bench(policy=replace(QUIET, search_queries=2, search_candidates=4))
    bench.know(contact(5))
    bench.node.commands.lookup(KEY, bench.now)
    bench.found(bench.sent_one(), 5, [contact(number) for number in range(60, 70)])
    bench.found(bench.sent_one(), 64)
    assert bench.event(LookupDone).stats.queries == 2
    assert hit(bench) == {"search_queries": 1, "search_candidates": 7}


def test_excess_strangers_are_put_off_and_counted() -> None:
    policy = replace(QUIET, stranger_pings=4, stranger_rate=2.0, verifications=0, good_for=1.0, replacements=1)
    bench = Bench(own_id=0, policy=policy)
    for number in range(65, 70):  # in a half that is not ours
        bench.query(Ping(), contact(number))
    assert len(bench.sent()) == 2
    assert hit(bench) == {"stranger_pings": 3}
    full = Bench(own_id=0, policy=replace(policy, k=2))
    full.know(*map(contact, (1, 2, 70, 71)))
    full.advance(2.0)
    for number in (80, 81):  # questionable contacts are in the way, and none may be checked
        full.node.state.answered(contact(number), 0.1, full.now)
    assert hit(full) == {"replacements": 1}


def test_stranger_pings_have_a_rate() -> None:
    bench = Bench(policy=replace(QUIET, stranger_pings=8, stranger_rate=4.0))

    def asked(number: int) -> bool:
        """Whether this stranger is pinged; it answers at once, and so makes room for another."""
        bench.query(Ping(), contact(number))
        pings = [sent for sent in bench.sent() if isinstance(sent.request, Ping)]
        for sent in pings:
            bench.refuse(sent, 100)
        return bool(pings)

    assert [number for number in range(1, 40) if asked(number)] == [1, 2, 3, 4]
    assert hit(bench) == {"stranger_rate": 35}
    bench.advance(0.5)
    assert [number for number in range(50, 60) if asked(number)] == [50]


def test_few_contacts_are_verified_at_a_time() -> None:
    bench = Bench(own_id=0, policy=Policy(k=2, lonely_lookups=0, good_for=1.0, verifications=1))
    bench.know(*[contact(number) for number in (1, 2, 32, 33, 64, 65)])
    bench.advance(2.0)
    for number in (70, 40):  # each for another bucket
        op = bench.node.commands.ping(endpoint(number), bench.now)
        [sent] = [sent for sent in bench.sent() if sent.to == endpoint(number)]
        bench.pong(sent, number)
        assert bench.event(Answered).op == op
    assert len(bench.node.memberships.verifying) == 1
    assert hit(bench) == {"verifications": 1}
    assert isinstance(bench.node.state._line.of(bench.node.state.table.bucket(Id(40))).__next__(), Contact)


def test_a_lookup_that_skipped_kin_says_so() -> None:
    bench = Bench(policy=QUIET)
    bench.know(contact(5))
    bench.node.commands.lookup(KEY, bench.now)
    kin = [Contact(Id(64 + number), Endpoint.of(f"203.0.113.{number}", 1729)) for number in range(5)]
    bench.found(bench.sent_one(), 5, kin)
    for sent in bench.sent():
        bench.found(sent, next(one.id for one in kin if one.endpoint == sent.to))
    done = bench.event(LookupDone)
    assert done.stats.queries == 1 + DEFAULT.lookup_per_network
    assert hit(bench) == {"lookup_per_network": len(kin) - DEFAULT.lookup_per_network}
