"""The soak's verdict on leases: what is stale, and what must be found."""

from __future__ import annotations

import pytest

from tests.soak.swarm import Presence
from tests.soak.truth import LEASE, SETTLED, SLACK, Truth

DIED = 1_000.0  # seconds
OWNER, HOLDER, ENTRY = "127.0.0.2", "127.0.0.3", ("ab", "127.0.0.2:80", 9.0)


def stale(after: float, *, left: float = 9.0, holder_since: float = 0.0, away_since: float | None = DIED) -> bool:
    """Whether the holder has the entry for too long, so many seconds after the death of its owner."""
    truth = Truth({OWNER: Presence(0.0, away_since), HOLDER: Presence(holder_since)})
    now = DIED + after
    overdue = truth.overdue(now)
    assert truth.overdue(now) == ({OWNER: DIED} if away_since and after > LEASE + SLACK else {})
    truth.holds(HOLDER, [(*ENTRY[:2], left), ("cd", f"{HOLDER}:80", 9.0)], overdue, now)
    assert len(truth.deaths) == len(overdue)
    assert truth.stale in ({f"ab {OWNER}:80 at {HOLDER}"}, set())
    return bool(truth.stale)


def test_an_entry_of_the_dead_is_stale_after_a_lease() -> None:
    assert not stale(LEASE + SLACK - 1)
    assert stale(LEASE + SLACK + 1)


def test_a_restarted_holder_has_one_lease_more() -> None:
    assert not stale(LEASE + SLACK + 1, holder_since=DIED + 2)
    assert stale(LEASE + SLACK + 3, holder_since=DIED + 2)


def test_an_expired_entry_is_not_stale() -> None:
    assert not stale(LEASE + SLACK + 1, left=0.0)


def test_an_owner_that_is_back_has_no_stale_entries() -> None:
    assert not stale(LEASE + SLACK + 1, away_since=None)


@pytest.mark.parametrize(
    ("presence", "entered_at", "must"),
    [
        (Presence(0.0), DIED - SETTLED - 1, True),
        (Presence(0.0), DIED - SETTLED + 1, False),  # it may not be published yet
        (Presence(0.0, DIED - 1), 0.0, False),
        (Presence(DIED - 1, None, LEASE / 3), 0.0, True),  # holders have kept it
        (Presence(DIED - 1, None, LEASE), 0.0, False),
        (Presence(DIED - SETTLED - 1, None, LEASE), 0.0, True),
    ],
)
def test_elders_find_entries_of_the_living(presence: Presence, entered_at: float, must: bool) -> None:
    assert Truth({OWNER: presence}).must_find(OWNER, entered_at, DIED) is must


def test_a_missed_entry_is_kept_once() -> None:
    truth = Truth({})
    for _ in range(2):
        truth.miss("ab", f"{OWNER}:80", HOLDER)
    assert truth.missed == {f"ab {OWNER}:80 by {HOLDER}"}
