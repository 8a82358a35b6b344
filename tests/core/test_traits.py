"""The core takes nothing of a wire for granted that its traits do not promise."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dhtd.core.endpoint import Endpoint, Family
from dhtd.core.events import (
    Bootstrapped,
    CannotWithdraw,
    Handle,
    LookupDone,
    Published,
    Unanswered,
    WatchUpdate,
    Withdrawn,
)
from dhtd.core.ids import Id
from dhtd.core.messages import (
    NO_OPTIONS,
    Contact,
    Error,
    FindNode,
    FindValue,
    Found,
    Message,
    Options,
    Ping,
    Query,
    Reply,
    Request,
    Store,
    Withdraw,
)
from dhtd.core.querying.check import Check
from tests.core.bench import QUIET, Bench
from tests.core.small import SmallCodec, contact, endpoint
from tests.records import LEASE, SESSION, own_key, to_store, to_withdraw

KEY = Id(77)
POLICY = replace(QUIET, republish_jitter=0.0, startup_spread=0.0)
OURS_PERHAPS = endpoint(5).with_port(80)  # on the port of our entry


class TerseCodec(SmallCodec):
    """The native wire without the observed address in replies, and without the sender in errors."""

    def decode(self, data: bytes) -> Message:
        """Return the message without these."""
        message = super().decode(data)
        match message:
            case Reply():
                return replace(message, observed=None)
            case Error():
                return replace(message, sender=None)
            case _:
                return message


class BareCodec(SmallCodec):
    """The native wire, declared without withdraw and leases, without tokens from find_node, and without a mark of cuts.

    A store has a lease and a session only on the wire.
    """

    traits = replace(
        SmallCodec.traits,
        requests=frozenset((Ping, FindNode, FindValue, Store)),
        token_from=frozenset((FindValue,)),
        tells_more=False,
    )

    def decode(self, data: bytes) -> Message:
        """Return the message, a store without what a wire without leases has not."""
        message = super().decode(data)
        if isinstance(message, Query) and isinstance(message.request, Store):
            return replace(message, request=replace(message.request, lease=0, session=b""))
        return message

    def encode_query(self, tid: bytes, sender: Id, request: Request, options: Options = NO_OPTIONS) -> bytes:
        """Return the datagram. A store must have neither lease nor session, and gets both."""
        if isinstance(request, Store):
            assert (request.lease, request.session) == (0, b"")
            request = replace(request, lease=LEASE, session=SESSION)
        return super().encode_query(tid, sender, request, options)


def terse() -> Bench:
    return Bench(policy=POLICY, codec=TerseCodec())


def test_an_error_without_an_id_is_no_contact() -> None:
    bench = terse()
    op = bench.node.commands.ping(endpoint(1), bench.now)
    sent = bench.sent_one()
    bench.refuse(sent, 1)
    assert bench.event(Unanswered) == Unanswered(op, endpoint(1), Error(sent.query.tid, None, 202, "busy"))
    assert bench.node.overlays.contacts() == []
    assert len(bench.node.requester.transactions) == 0
    assert bench.node.counters.errors_received == 1


def test_an_error_without_an_id_is_no_timeout() -> None:
    bench = terse()
    bench.know(contact(1))
    for _ in range(3):
        bench.node.commands.find_value(endpoint(1), KEY, bench.now)
        bench.refuse(bench.sent_one(), 1)
    (known,) = bench.node.overlays.contacts()
    assert bench.node.state.is_live(known)


def test_nobody_tells_where_we_are() -> None:
    bench = terse()
    bench.know(contact(1))
    assert bench.node.external.seen() == []
    op = bench.node.commands.enter(KEY, 80, bench.now)
    bench.found(bench.sent_one(), 1)
    bench.pong(bench.sent_one(), 1)
    assert bench.event(Published) == Published(op, KEY, 80, (contact(1),), 1)
    assert bench.node.publisher.seen_by(own_key(KEY, 80), endpoint(1)) == ()


def deleting(bench: Bench) -> None:
    """Have a node delete its entry, which node 1 holds."""
    bench.know(contact(1))
    bench.node.commands.enter(KEY, 80, bench.now)
    bench.found(bench.sent_one(), 1)
    bench.pong(bench.sent_one(), 1)
    bench.node.commands.delete(KEY, 80, bench.now)
    bench.events()


def answer(bench: Bench, endpoints: list[Endpoint], token: bytes) -> None:
    """Answer all finds, and acknowledge the withdrawals."""
    for sent in bench.sent():
        if isinstance(sent.request, FindNode | FindValue):
            bench.found(sent, 1, endpoints=endpoints if isinstance(sent.request, FindValue) else [], token=token)
        else:
            assert isinstance(sent.request, Withdraw)
            bench.pong(sent, 1)


@pytest.mark.parametrize(("named", "held"), [([OURS_PERHAPS], 1), ([endpoint(5).with_port(81)], 0), ([], 0)])
def test_what_may_be_our_entry_stays_owed(named: list[Endpoint], held: int) -> None:
    bench = terse()
    deleting(bench)
    answer(bench, named, b"")
    assert bench.event(Withdrawn).silent == len(bench.node.withdrawals) == held


def test_a_holder_lets_go_of_what_may_be_ours() -> None:
    bench = terse()
    deleting(bench)
    answer(bench, [OURS_PERHAPS], b"token")
    answer(bench, [OURS_PERHAPS], b"token")
    ended = bench.event(Withdrawn)
    assert (ended.nodes, ended.silent, ended.left_behind) == (1, 0, ())
    for named in ([OURS_PERHAPS], []):  # the first time it has it again, for all we know
        bench.advance(POLICY.withdraw_confirm)
        assert len(bench.node.withdrawals) == 1
        answer(bench, named, b"token")
        answer(bench, named, b"token")
    assert len(bench.node.withdrawals) == 0


def test_a_store_shows_the_token_of_its_holder() -> None:
    bench = terse()
    bench.know(contact(1))
    bench.node.commands.enter(KEY, 80, bench.now)
    bench.found(bench.sent_one(), 1, token=b"theirs")
    assert bench.sent_one().request == to_store(KEY, 80, b"theirs")


def bare() -> Bench:
    bench = Bench(policy=POLICY, codec=BareCodec())
    bench.know(contact(1))
    return bench


def test_find_value_gives_the_tokens_of_stores() -> None:
    bench = bare()
    bench.node.commands.enter(KEY, 80, bench.now)
    search = bench.sent_one()
    assert search.request == FindValue(KEY)
    bench.found(search, 1, endpoints=[OURS_PERHAPS], token=b"theirs")
    assert bench.sent_one().request == Store(KEY, 80, b"theirs", 0, b"")


def test_other_lookups_ask_for_nodes_alone() -> None:
    bench = bare()
    bench.node.memberships.first.refresh(KEY, bench.now)
    assert bench.sent_one().request == FindNode(KEY)


def test_only_some_finds_are_issued_tokens() -> None:
    bench = bare()
    tokens = []
    for request in (FindNode(KEY), FindValue(KEY)):
        reply = bench.query(request, contact(2))
        assert isinstance(reply, Reply)
        found = bench.codec.decode_result(request, reply.body)
        assert isinstance(found, Found)
        tokens.append(found.token)
    assert tokens[0] == b""
    assert isinstance(bench.query(Store(KEY, 80, tokens[1] or b"", 0, b""), contact(2)), Reply)


@pytest.mark.parametrize("request_", [FindNode(KEY), FindValue(KEY)])
def test_a_find_above_the_limit_gets_an_error(request_: Request) -> None:
    """An empty answer would seem whole."""
    bench = bare()
    bench.node.gate.limit_rate(1.0)
    answers = [bench.query(request_, contact(1)) for _ in range(8)]
    busy = [answer for answer in answers if isinstance(answer, Error)]
    assert {answer.text for answer in busy} == {"busy"}
    assert len(busy) == bench.node.counters.cut_short > 0
    assert isinstance(bench.query(Ping(), contact(1)), Reply)


@pytest.mark.parametrize("named", [[], [OURS_PERHAPS]])
def test_what_was_found_may_be_a_part(named: list[Endpoint]) -> None:
    bench = bare()
    bench.node.commands.lookup(KEY, bench.now)
    bench.found(bench.sent_one(), 1, endpoints=named)
    assert bench.event(LookupDone).complete is not bool(named)


def test_a_delete_tells_when_the_copies_expire() -> None:
    bench = bare()
    bench.node.commands.enter(KEY, 80, bench.now)
    bench.found(bench.sent_one(), 1)
    bench.pong(bench.sent_one(), 1)
    bench.events()
    (until,) = bench.node.publisher.holders(own_key(KEY, 80), bench.now).values()
    op, ports = bench.node.commands.delete(KEY, 80, bench.now)
    assert ports == [80]
    assert bench.event(CannotWithdraw) == CannotWithdraw(op, KEY, (80,), 1, until)
    assert bench.node.publisher.holders(own_key(KEY, 80), bench.now) == {contact(1): until}
    assert not bench.node.handles.running
    assert bench.sent() == []


def test_no_holder_is_asked_to_withdraw() -> None:
    bench = Bench(policy=POLICY, codec=BareCodec())
    bench.node.publisher.restore_holder(own_key(KEY, 80), contact(2), 3_000.0, bench.now)
    bench.know(contact(1), contact(2))
    bench.advance(2_000)
    assert {type(sent.request) for sent in bench.sent()} <= {Ping, FindNode}
    (pending,) = bench.node.withdrawals
    assert (pending.holder, pending.until, pending.due_at) == (contact(2), 3_000.0, None)
    bench.advance(2_000)
    assert len(bench.node.withdrawals) == 0


def test_what_was_never_published_leaves_nothing() -> None:
    bench = Bench(policy=POLICY, codec=BareCodec())
    bench.node.commands.enter(KEY, 80, bench.now)
    op, _ = bench.node.commands.delete(KEY, 80, bench.now)
    assert bench.event(CannotWithdraw) == CannotWithdraw(op, KEY, (80,), 0, None)


POLLING = replace(POLICY, watch_retry=10.0, watch_retry_max=40.0)
OTHERS_PERHAPS = endpoint(8).with_port(81)


def polling() -> tuple[Bench, Handle]:
    bench = Bench(policy=POLLING, codec=BareCodec())
    bench.know(contact(1))
    return bench, bench.node.commands.watch(KEY, bench.now)


def poll(bench: Bench, named: list[Endpoint] | None) -> tuple[float, list[WatchUpdate]]:
    """Answer the next lookup of a watch, or none; return when it came, and the updates that follow."""
    since = bench.now
    while not (finds := [sent for sent in bench.sent() if sent.request == FindValue(KEY)]):
        due = bench.node.watching.own.next_timeout()
        assert due is not None
        bench.now = due
        bench.node.handle_timeout(due)
    came_after = bench.now - since
    for sent in finds:
        if named is not None:
            bench.found(sent, 1, endpoints=named)
    if named is None:
        bench.advance(5)
        bench.sent()
    return came_after, [event for event in bench.events() if isinstance(event, WatchUpdate)]


def test_a_watch_looks_up_again_and_again() -> None:
    bench, op = polling()
    assert poll(bench, []) == (0.0, [WatchUpdate(op, KEY, (), (), (), 1)])
    pauses = [poll(bench, [])[0] for _ in range(4)]
    for pause, most in zip(pauses, (10, 20, 40, 40), strict=True):
        assert 0.9 * most <= pause <= most
    _, (update,) = poll(bench, [OURS_PERHAPS])
    assert update == WatchUpdate(op, KEY, (OURS_PERHAPS,), (OURS_PERHAPS,), (), 1)
    assert poll(bench, [OURS_PERHAPS])[0] <= 10  # while things change, it asks more often
    bench.node.commands.cancel(op)
    bench.advance(100)
    assert bench.sent() == []


def test_what_one_lookup_misses_is_kept() -> None:
    bench, op = polling()
    poll(bench, [OURS_PERHAPS])
    assert poll(bench, [OTHERS_PERHAPS])[1] == [
        WatchUpdate(op, KEY, (OURS_PERHAPS, OTHERS_PERHAPS), (OTHERS_PERHAPS,), (), 1)
    ]
    assert poll(bench, [OTHERS_PERHAPS])[1] == [WatchUpdate(op, KEY, (OTHERS_PERHAPS,), (), (OURS_PERHAPS,), 1)]


def test_a_lookup_without_an_answer_is_no_news() -> None:
    bench, op = polling()
    poll(bench, [OURS_PERHAPS])
    _, updates = poll(bench, None)
    assert updates == [WatchUpdate(op, KEY, (OURS_PERHAPS,), (), (), 0)]


def test_a_watch_survives_a_defect_in_a_lookup() -> None:
    bench, op = polling()
    for query in list(bench.node.requester.transactions):
        query.owner.give_up(bench.now)
    bench.node.handle_timeout(bench.now)
    bench.sent()
    assert [event for event in bench.events() if isinstance(event, WatchUpdate)] == [
        WatchUpdate(op, KEY, (), (), (), 0)
    ]
    assert poll(bench, [OURS_PERHAPS])[1][0].endpoints == (OURS_PERHAPS,)


def test_an_ended_watch_takes_no_lookup() -> None:
    bench, op = polling()
    (sent,) = bench.sent()
    bench.node.commands.cancel(op)
    bench.found(sent, 1, endpoints=[OURS_PERHAPS])
    bench.advance(1)
    assert bench.events() == []


def test_no_request_is_sent_without_its_trait() -> None:
    bench = bare()
    owner = Check(bench.node.requester)
    with pytest.raises(AssertionError):
        bench.node.requester.ask(owner, to_withdraw(KEY, 80, b"token"), endpoint(1), Id(1), bench.now)


OURS4, OURS6 = Id(5), Id(90)
PEER6 = Contact(Id(2), Endpoint.of("2001:db8:2::1", 1729))
US6 = Endpoint.of("2001:db8:9::1", 1729)


def node_of_two_ids() -> Bench:
    """Return a node with another ID in each family, and a contact in both."""
    bench = Bench(policy=POLICY, families=tuple(Family), own_ids={Family.IPV4: OURS4, Family.IPV6: OURS6})
    bench.know(contact(1), PEER6)
    bench.sent()
    return bench


def test_a_node_has_an_id_in_each_network() -> None:
    node = node_of_two_ids().node
    assert node.own_id == OURS4
    assert [overlay.own_id for overlay in node.overlays] == [OURS4, OURS6]


def test_each_network_is_asked_by_its_id() -> None:
    bench = node_of_two_ids()
    bench.node.commands.lookup(KEY, bench.now)
    assert {(sent.to, sent.query.sender) for sent in bench.sent()} == {(endpoint(1), OURS4), (PEER6.endpoint, OURS6)}


def test_a_foreign_family_sees_our_first_id() -> None:
    bench = Bench(policy=POLICY, own_ids={Family.IPV6: OURS6})
    bench.node.commands.ping(US6, bench.now)
    assert bench.sent_one().query.sender == Id(0)


@pytest.mark.parametrize(("peer", "own_id"), [(contact(1), OURS4), (PEER6, OURS6)])
def test_each_network_is_answered_by_its_id(peer: Contact, own_id: Id) -> None:
    bench = node_of_two_ids()
    token = b"none of ours"
    for request in (Ping(), FindNode(KEY), FindValue(KEY), to_store(KEY, 80, token)):
        answer = bench.node.handle_datagram(bench.codec.encode_query(b"12345678", peer.id, request), peer.endpoint, 0.0)
        assert answer is not None
        assert bench.codec.decode(answer).sender == own_id


@pytest.mark.parametrize("own_id", [OURS4, OURS6])
def test_nobody_else_has_an_id_of_ours(own_id: Id) -> None:
    bench = node_of_two_ids()
    assert bench.query(Ping(), Contact(own_id, endpoint(3))) is None
    assert bench.node.counters.own_id_claimed == 1
    bench.node.commands.ping(endpoint(3), bench.now)
    bench.pong(bench.sent_one(), own_id)
    assert bench.node.counters.own_id_claimed == 2


def test_each_network_gets_to_know_our_id_in_it() -> None:
    bench = node_of_two_ids()
    op = bench.node.commands.bootstrap([endpoint(1), PEER6.endpoint], bench.now)
    for sent in bench.sent():
        bench.pong(sent, 1 if sent.to == endpoint(1) else 2)
    lookups = bench.sent()
    targets = {(sent.to, sent.request) for sent in lookups}
    assert targets == {(endpoint(1), FindNode(OURS4)), (PEER6.endpoint, FindNode(OURS6))}
    for sent in lookups:
        bench.found(sent, 1 if sent.to == endpoint(1) else 2, token=b"proof")
    introductions = {(sent.to, sent.request) for sent in bench.sent()}
    assert introductions == {
        (endpoint(1), FindNode(OURS4, b"proof")),
        (PEER6.endpoint, FindNode(OURS6, b"proof")),
    }
    assert bench.event(Bootstrapped) == Bootstrapped(op, 2, 0)


def test_each_search_passes_over_our_id_there() -> None:
    bench = node_of_two_ids()
    bench.node.commands.lookup(KEY, bench.now)
    for sent in bench.sent():
        named = [contact(OURS4), contact(OURS6)] if sent.to == endpoint(1) else [Contact(OURS6, US6)]
        bench.found(sent, 1 if sent.to == endpoint(1) else 2, named)
    assert {sent.to for sent in bench.sent()} == {endpoint(OURS6)}  # under our ID of IPv6, it is no other node's
