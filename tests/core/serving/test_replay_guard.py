"""Captured datagrams that are sent again, to the same node or another, change nothing."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import pytest

from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import Id
from dhtd.core.messages import (
    ERROR_PROTOCOL,
    ERROR_SERVER,
    Contact,
    Error,
    FindNode,
    FindValue,
    Found,
    Ping,
    Reply,
    Store,
    Withdraw,
)
from dhtd.core.policy import DEFAULT, Policy
from dhtd.core.routing.standing import Standing
from dhtd.core.serving.replay_guard import Repeat, ReplayGuard
from dhtd.core.storage.held_record import HeldRecord
from tests.core.bench import QUIET, US, Bench
from tests.core.small import contact, endpoint
from tests.records import to_store, to_withdraw

KEY = Id(77)
PEER = contact(100)
ROTATION = DEFAULT.token_rotation


def token(bench: Bench, source: Contact = PEER, key: Id = KEY) -> bytes:
    reply = bench.query(FindNode(key), source)
    assert isinstance(reply, Reply)
    found = bench.codec.decode_result(FindNode(key), reply.body)
    assert isinstance(found, Found)
    assert found.token is not None
    return found.token


def datagram(bench: Bench, request: Store | Withdraw, tid: int, source: Contact = PEER) -> bytes:
    return bench.codec.encode_query(tid.to_bytes(8, "big"), source.id, request)


def deliver(bench: Bench, data: bytes, source: Endpoint = PEER.endpoint) -> Reply | Error:
    answer = bench.deliver(data, source)
    assert answer is not None
    message = bench.codec.decode(answer)
    assert isinstance(message, Reply | Error)
    return message


def held(bench: Bench) -> list[HeldRecord]:
    return list(bench.node.store)


def inside(bench: Bench) -> dict[str, Any]:
    """Return the node's knowledge, and its work under way."""
    node = bench.node
    return {
        "table": [(bucket.low, bucket.activity, list(bucket.contacts)) for bucket in node.state.table.buckets],
        "records": {
            known: (record.heard_at, record.reachable, record.timeouts, record.round_trips.mean)
            for known in node.state.table
            for record in [node.state.meta.get(known.id)]
        },
        "waiting": dict(node.state._line._newcomers),
        "heard": node.state.heard_at,
        "held": held(bench),
        "in flight": dict(node.requester.transactions._queries),
        "votes": node.external.endpoints(),
        "deadline": node.poll_timeout(),
        "events": bench.events(),
        "sent": bench.sent(),
    }


def test_a_replayed_store_revives_nothing() -> None:
    bench = Bench()
    store = datagram(bench, to_store(KEY, 80, token(bench)), 1)
    assert isinstance(deliver(bench, store), Reply)
    assert isinstance(deliver(bench, datagram(bench, to_withdraw(KEY, 80, token(bench)), 2)), Reply)
    answer = deliver(bench, store)
    assert isinstance(answer, Error)
    assert (answer.code, answer.text) == (ERROR_SERVER, "not stored again")
    assert held(bench) == []
    assert bench.node.counters.repeated == 1


def test_a_replayed_store_does_not_prolong() -> None:
    """Its sender may have missed the acknowledgement; or it is not the sender."""
    bench = Bench()
    store = datagram(bench, to_store(KEY, 80, token(bench)), 1)
    first = deliver(bench, store)
    assert isinstance(first, Reply)
    before = held(bench)
    bench.now += ROTATION
    assert deliver(bench, store) == first
    assert deliver(bench, store, PEER.endpoint.with_port(9)) == replace(first, observed=PEER.endpoint.with_port(9))
    assert held(bench) == before
    assert bench.node.counters.repeated == 2


def test_a_replayed_withdrawal_drops_nothing() -> None:
    bench = Bench()
    deliver(bench, datagram(bench, to_store(KEY, 80, token(bench)), 1))
    withdraw = datagram(bench, to_withdraw(KEY, 80, token(bench)), 2)
    first = deliver(bench, withdraw)
    assert deliver(bench, withdraw) == first
    deliver(bench, datagram(bench, to_store(KEY, 80, token(bench)), 3))
    assert deliver(bench, withdraw) == first
    assert [entry.record.endpoint for entry in held(bench)] == [PEER.endpoint.with_port(80)]
    assert bench.node.counters.repeated == 2


def test_a_token_serves_several_changes() -> None:
    bench = Bench()
    shown = token(bench)
    for tid in range(5):
        deliver(bench, datagram(bench, to_store(KEY, 80, shown), tid))
        assert len(held(bench)) == 1
        bench.now += 1.0
        deliver(bench, datagram(bench, to_store(KEY, 80, shown), 100 + tid))
        assert held(bench)[0].expires_at == bench.now + DEFAULT.store_expiry
        deliver(bench, datagram(bench, to_withdraw(KEY, 80, shown), tid))  # another method: another query
        assert held(bench) == []
    deliver(bench, datagram(bench, to_store(KEY, 80, shown), 200))
    deliver(bench, datagram(bench, to_store(KEY, 81, shown), 200))  # another port
    assert len(held(bench)) == 2
    assert bench.node.counters.repeated == 0


def test_a_refused_store_cannot_be_replayed() -> None:
    bench = Bench(policy=replace(QUIET, store_entries=1))
    deliver(bench, datagram(bench, to_store(KEY, 80, token(bench)), 1))
    refused = datagram(bench, to_store(KEY, 81, token(bench)), 2)
    assert isinstance(deliver(bench, refused), Error)
    deliver(bench, datagram(bench, to_withdraw(KEY, 80, token(bench)), 3))
    assert isinstance(deliver(bench, refused), Error)
    assert held(bench) == []
    assert isinstance(deliver(bench, datagram(bench, to_store(KEY, 81, token(bench)), 4)), Reply)


@pytest.mark.parametrize("pauses", [[0.0], [ROTATION - 1], [ROTATION], [2 * ROTATION - 1], [1.0] * 130, [500.0]])
@pytest.mark.parametrize("issued_before", [0.0, 0.5, ROTATION - 0.5, ROTATION + 0.5])
def test_a_change_is_known_while_its_token_lives(pauses: list[float], issued_before: float) -> None:
    bench = Bench()
    shown = token(bench)
    bench.now += issued_before
    store = datagram(bench, to_store(KEY, 80, shown), 1)
    assert isinstance(deliver(bench, store), Reply)
    deliver(bench, datagram(bench, to_withdraw(KEY, 80, token(bench)), 2))
    for pause in pauses:
        bench.now += pause
        answer = deliver(bench, store)
        assert isinstance(answer, Error)
        dead = bench.now >= 2 * ROTATION
        assert (answer.code, answer.text) == (
            (ERROR_PROTOCOL, "bad token") if dead else (ERROR_SERVER, "not stored again")
        )
        assert held(bench) == []


def test_a_change_is_forgotten_with_its_token() -> None:
    bench = Bench()
    remembered = bench.node.responder._replays
    for tid in range(50):
        deliver(bench, datagram(bench, to_store(KEY, 80, token(bench)), tid))
        bench.now += ROTATION / 10
        assert len(remembered) <= 20
    assert tid + 1 > len(remembered) > 10
    bench.now += 2 * ROTATION
    deliver(bench, datagram(bench, to_store(KEY, 80, token(bench)), 50))
    assert len(remembered) == 1


def test_a_full_memory_refuses_changes() -> None:
    bench = Bench(policy=replace(QUIET, changes=5, changes_per_source=3))

    def answers(number: int, tids: range) -> list[type[Reply | Error]]:
        source = contact(number)
        shown = token(bench, source)
        return [
            type(deliver(bench, datagram(bench, to_store(KEY, 80 + tid, shown), tid, source), source.endpoint))
            for tid in tids
        ]

    assert answers(1, range(6)) == [Reply] * 3 + [Error] * 3
    assert answers(2, range(3)) == [Reply] * 2 + [Error]  # all in all
    assert bench.node.counters.changes_refused == 4
    caps_hit = bench.node.counters.caps_hit
    assert (caps_hit["changes"], caps_hit["changes_per_source"]) == (1, 3)
    assert answers(1, range(3)) == [Reply] * 3  # taken changes are still acknowledged
    assert bench.node.counters.repeated == 3
    refused = deliver(bench, datagram(bench, to_withdraw(KEY, 80, token(bench, contact(1))), 9), contact(1).endpoint)
    assert isinstance(refused, Error)
    assert (refused.code, refused.text) == (ERROR_SERVER, "busy: too many stores in a minute")
    assert len(held(bench)) == 5
    bench.now += ROTATION
    assert answers(3, range(6)) == [Reply] * 3 + [Error] * 3


def test_the_memory_has_at_most_two_generations() -> None:
    policy = Policy(changes=100, changes_per_source=10)
    replays = ReplayGuard(policy, 0)
    for generation in range(5):
        verdicts = []
        for number in range(1_000):
            place = number % 50
            request = to_store(KEY, 80, b"%04d%04d" % (generation, place))
            verdicts.append(replays.take(number.to_bytes(8, "big"), request, endpoint(place).ip, generation))
        assert (verdicts.count(Repeat.NEW), verdicts.count(Repeat.BUSY)) == (100, 900)
        assert verdicts.count(Repeat.GREEDY) == 0
        assert len(replays) == min(generation + 1, 2) * 100
        assert len(replays._per_source) <= 50
    assert replays.take(bytes(8), to_store(KEY, 80, b"%08d" % 99), endpoint(1).ip, 99) is Repeat.NEW
    assert len(replays) == 1


def test_used_up_shares_leave_room_for_others() -> None:
    """Otherwise few addresses could keep all others from storing and withdrawing."""
    replays = ReplayGuard(Policy(changes=400, changes_per_source=100, changes_few=10), 0)

    def takes(machine: int, changes: int) -> int:
        store = to_store(KEY, 80, b"%08d" % machine)
        ip = endpoint(machine).ip
        return sum(replays.take(tid.to_bytes(8, "big"), store, ip, 0) is Repeat.NEW for tid in range(changes))

    assert [takes(attacker, 1_000) for attacker in range(1, 5)] == [100, 100, 100, 10]
    assert [takes(honest, 3) for honest in range(10, 20)] == [3] * 10
    assert takes(30, 50) == 10
    assert len(replays) == 350


def test_the_share_exceeds_what_the_rate_allows() -> None:
    """A node asks for a token before each store."""
    assert DEFAULT.rate_limit * ROTATION / 2 <= DEFAULT.changes_per_source
    assert DEFAULT.changes >= DEFAULT.store_entries


def test_a_replayed_answer_matches_no_query() -> None:
    bench = Bench()
    bench.know(contact(1))
    bench.node.commands.find_value(endpoint(1), KEY, bench.now)
    asked = bench.sent_one()
    answer = bench.codec.encode_acknowledged(asked.query.tid, Id(1), US)
    found = bench.codec._encode(1, asked.query.tid, Id(1), bytes(US), [b"t", b"", b"", [bytes(endpoint(8))], False])
    refusal = bench.codec.encode_error(asked.query.tid, Id(1), 202, "busy")
    bench.deliver(found, endpoint(1))
    bench.events()
    before, unmatched = inside(bench), bench.node.counters.unmatched
    for data in (found, answer, refusal):
        for source in (endpoint(1), endpoint(2), US):
            assert bench.deliver(data, source) is None
            bench.now += 100.0
    assert inside(bench) == before
    assert bench.node.counters.unmatched == unmatched + 9


def test_our_own_answer_sent_back_is_nothing() -> None:
    bench = Bench(own_id=5)
    bench.know(contact(1))
    answer = bench.deliver(bench.codec.encode_query(b"12345678", Id(1), FindValue(KEY)), endpoint(1))
    assert answer is not None
    before = inside(bench)
    for source in (endpoint(1), US, endpoint(9)):
        assert bench.deliver(answer, source) is None
    assert inside(bench) == before
    assert bench.node.counters.unmatched == 3


def test_our_own_query_sent_back_gets_no_answer() -> None:
    """Otherwise an attacker could send our own answer back, too, and we would take the peer for ourselves."""
    bench = Bench(own_id=5)
    bench.know(contact(1))
    bench.node.commands.ping(endpoint(1), bench.now)
    transmit = bench.node.poll_transmit()
    assert transmit is not None
    before = inside(bench)
    assert bench.deliver(transmit.data, endpoint(1)) is None
    assert inside(bench) == before
    assert bench.node.counters.own_id_claimed == 0
    assert contact(1) in bench.node.state.table


def test_replays_keep_no_dead_contact_good() -> None:
    bench = Bench()
    bench.know(contact(1))
    query = bench.codec.encode_query(b"12345678", Id(1), Ping())
    bench.deliver(query, endpoint(1))
    assert bench.sent() == []
    heard = bench.node.state.meta.get(Id(1)).heard_at
    for _ in range(3):
        bench.now += DEFAULT.good_for / 2
        bench.deliver(query, endpoint(1))
        assert bench.node.state.meta.get(Id(1)).heard_at == heard
    assert bench.node.state.standing(contact(1), bench.now) is Standing.QUESTIONABLE


def test_a_store_for_one_node_is_none_for_another() -> None:
    one, other = Bench(own_id=1), Bench(own_id=2, seed=2)
    store = datagram(one, to_store(KEY, 80, token(one)), 1)
    answer = deliver(other, store)
    assert isinstance(answer, Error)
    assert (answer.code, answer.text) == (ERROR_PROTOCOL, "bad token")
    assert held(other) == []
    assert asdict(other.node.counters)["repeated"] == 0
