"""The node's policy from a daemon's settings."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dhtd.config.sources import load_settings
from dhtd.config.values import CAP_MAX, CAPS_APART
from dhtd.core.counters import CAPS
from dhtd.core.policy import DEFAULT
from dhtd.daemon.make_driver import policy_of
from tests.core.bench import Bench
from tests.core.small import contact, endpoint


@pytest.fixture(autouse=True)
def nobody_s_files(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    for variable in ("HOME", "XDG_CONFIG_HOME", "XDG_CONFIG_DIRS"):
        monkeypatch.setenv(variable, str(tmp_path_factory.mktemp("empty")))


def test_without_settings_it_is_the_usual_one() -> None:
    assert policy_of(load_settings({}, {})) == DEFAULT


@pytest.mark.parametrize("cap", [cap for cap in CAPS if cap not in CAPS_APART])
@pytest.mark.parametrize("number", [1, CAP_MAX])
def test_each_cap_can_be_set(cap: str, number: int) -> None:
    policy = policy_of(load_settings({"cap": [f"{cap}={number}"]}, {}))
    assert {each for each in CAPS if getattr(policy, each) != getattr(DEFAULT, each)} <= {cap}
    assert getattr(policy, cap) == number
    bench = Bench(policy=policy)
    bench.know(contact(5))
    bench.node.commands.ping(endpoint(9), bench.now)
    assert len(bench.sent()) == 1


def test_dedicated_settings_set_their_caps() -> None:
    options = {"rate-limit": "3", "rate-limit-total": "4", "max-entries": "5", "max-operations": "6"}
    assert list(CAPS_APART.values()) == list(options)
    policy = policy_of(load_settings(options, {}))
    assert policy == replace(DEFAULT, rate_limit=3, rate_limit_total=4, store_entries=5, operations=6)


def test_settings_exempt_more_networks() -> None:
    policy = policy_of(load_settings({"exempt-network": ["203.0.113.0/24"]}, {}))
    assert policy == replace(DEFAULT, exempt_networks=(*DEFAULT.exempt_networks, "203.0.113.0/24"))
