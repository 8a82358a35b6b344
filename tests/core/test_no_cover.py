"""Tests without coverage are three times as fast only while nothing traces them."""

from __future__ import annotations

import sys

import pytest


@pytest.mark.no_cover
def test_nothing_traces_a_test_without_coverage() -> None:
    assert sys.gettrace() is None
