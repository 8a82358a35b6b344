"""How long answers take: a smoothed mean, and a deviation that decides how long to be patient."""

from __future__ import annotations

import pytest

from dhtd.core.round_trips import RoundTrips


def test_without_samples_nothing_is_known() -> None:
    trips = RoundTrips()
    assert (trips.samples, trips.mean, trips.patience(4)) == (0, None, 0.0)


def test_half_of_the_first_sample_is_the_deviation() -> None:
    trips = RoundTrips()
    trips.add(2.0)
    assert (trips.samples, trips.mean) == (1, 2.0)
    assert [trips.patience(deviations) for deviations in (0, 1, 4)] == [2.0, 3.0, 6.0]


def test_a_sample_counts_an_eighth() -> None:
    trips = RoundTrips()
    trips.add(2.0)
    trips.add(10.0)
    assert (trips.samples, trips.mean) == (2, 3.0)
    assert trips.patience(1) == 3.0 + 2.75  # three quarters of 1, and a quarter of the error, 8
    trips.add(1.0)
    assert (trips.samples, trips.mean) == (3, 2.75)
    assert trips.patience(1) == pytest.approx(2.75 + 0.75 * 2.75 + 0.25 * 2.0)


def test_another_gain_smooths_less() -> None:
    trips = RoundTrips(gain=1 / 2)
    trips.add(2.0)
    trips.add(4.0)
    assert (trips.mean, trips.patience(1)) == (3.0, 5.0)
