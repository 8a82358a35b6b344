"""Store tokens: their users, their purpose, and their life. The model remembers each token that was ever issued."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from dhtd.core.policy import DEFAULT, Policy
from dhtd.core.serving.tokens import Tokens
from tests.core.small import Beats

IP, OTHER_IP = b"\x01\x02\x03\x04", b"\x01\x02\x03\x05"
KEY, OTHER_KEY = bytes(32), bytes(31) + b"\x01"
ROTATION = DEFAULT.token_rotation


def make(policy: Policy = DEFAULT) -> Tokens:
    return Tokens(Random(1), policy, now=0.0)


@pytest.mark.parametrize("size", [1, 8, 32])
def test_a_token_has_the_policys_size(size: int) -> None:
    assert len(make(Policy(token_size=size)).issue(IP, KEY, 0.0)) == size


def test_a_token_is_for_its_address_and_key() -> None:
    tokens = make()
    token = tokens.issue(IP, KEY, 0.0)
    assert tokens.is_valid(token, IP, KEY, 0.0)
    assert not tokens.is_valid(token, OTHER_IP, KEY, 0.0)
    assert not tokens.is_valid(token, IP, OTHER_KEY, 0.0)


@pytest.mark.parametrize("forged", [b"", b"\0" * 8, b"\0" * 7, b"\0" * 64])
def test_a_made_up_token_is_not_valid(forged: bytes) -> None:
    assert not make().is_valid(forged, IP, KEY, 0.0)


def test_a_cut_or_extended_token_is_invalid() -> None:
    tokens = make()
    token = tokens.issue(IP, KEY, 0.0)
    assert not tokens.is_valid(token[:-1], IP, KEY, 0.0)
    assert not tokens.is_valid(token + b"\0", IP, KEY, 0.0)


def test_nodes_refuse_each_others_tokens() -> None:
    mine, yours = Tokens(Random(1), Policy(), 0.0), Tokens(Random(2), Policy(), 0.0)
    assert not yours.is_valid(mine.issue(IP, KEY, 0.0), IP, KEY, 0.0)


@given(st.floats(0, 1e6), st.floats(0, 300))
def test_a_token_lasts_one_to_two_rotations(issued_at: float, age: float) -> None:
    tokens = make()
    token = tokens.issue(IP, KEY, issued_at)
    valid = tokens.is_valid(token, IP, KEY, issued_at + age)
    if age < ROTATION:
        assert valid
    if age > 2 * ROTATION:
        assert not valid


@given(st.lists(st.floats(0, 200), max_size=20))
def test_others_queries_do_not_age_a_token(gaps: list[float]) -> None:
    tokens = make()
    now = 0.0
    issued: list[tuple[float, bytes]] = []
    for gap in gaps:
        now += gap
        issued.append((now, tokens.issue(IP, KEY, now)))
        for issued_at, token in issued:
            if now - issued_at < ROTATION:
                assert tokens.is_valid(token, IP, KEY, now)
            if now - issued_at > 2 * ROTATION:
                assert not tokens.is_valid(token, IP, KEY, now)


def test_secrets_rotate_on_a_steady_beat() -> None:
    tokens = make()
    first = tokens.issue(IP, KEY, 0.0)
    second = tokens.issue(IP, KEY, 60.0)
    assert second != first
    assert tokens.is_valid(first, IP, KEY, 119.9)
    assert not tokens.is_valid(first, IP, KEY, 120.0)
    assert tokens.is_valid(second, IP, KEY, 179.9)
    assert not tokens.is_valid(second, IP, KEY, 180.0)


def test_a_long_silence_clears_old_secrets() -> None:
    tokens = make()
    stale = tokens.issue(IP, KEY, 0.0)
    fresh = tokens.issue(IP, KEY, 1_000.0)
    assert not tokens.is_valid(stale, IP, KEY, 1_000.0)
    assert tokens.is_valid(fresh, IP, KEY, 1_059.9)
    assert tokens.is_valid(fresh, IP, KEY, 1_119.9)
    assert not tokens.is_valid(fresh, IP, KEY, 1_120.0)


ips = st.sampled_from([IP, OTHER_IP, IP + bytes(12), OTHER_IP + bytes(12)])
token_keys = st.sampled_from([KEY, OTHER_KEY])
nodes = st.integers(0, 1)


class TokensMachine(RuleBasedStateMachine):
    """Two nodes issue tokens; each takes its own from this beat and the last, for their IP and key."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 7.0
        self.nodes = [Tokens(Random(seed), DEFAULT, self.now) for seed in (1, 2)]
        self.beats = [Beats(ROTATION, self.now) for _ in self.nodes]
        self.issued: dict[bytes, tuple[int, bytes, bytes, int]] = {}  # node, IP, key, beat

    @rule(seconds=st.sampled_from([0.5, 29.5, 30.0, 59.5, 60.0, 119.5, 120.0, 1_000.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(node=nodes, ip=ips, key=token_keys)
    def issue(self, node: int, ip: bytes, key: bytes) -> None:
        token = self.nodes[node].issue(ip, key, self.now)
        facts = node, ip, key, self.beats[node].ask(self.now)
        assert self.issued.setdefault(token, facts) == facts

    @rule(node=nodes, ip=ips, key=token_keys)
    def check(self, node: int, ip: bytes, key: bytes) -> None:
        for token, facts in self.issued.items():
            beat = self.beats[node].ask(self.now)
            good = facts in {(node, ip, key, beat), (node, ip, key, beat - 1)}
            assert self.nodes[node].is_valid(token, ip, key, self.now) is good


TestEachTokenIsGoodForWhatItWasIssuedFor = TokensMachine.TestCase
