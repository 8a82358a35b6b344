"""The measurement of what entries make nodes send works. Its figures are not tested."""

from __future__ import annotations

import pytest

from tests.bench import leases


def test_datagrams_are_counted_by_kind(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "FEW", 12)
    assert leases.main(["--nodes=12", "--entries=3", "--settled=20", "--counted=60"]) == 0
    many, kinds, few, _, sent, received = capsys.readouterr().out.splitlines()
    assert many.startswith("3 entries of one node among 12, ")
    assert "Renew 0." in kinds
    assert few.startswith("one entry of an idle node among 12, ")
    assert sent.startswith("sent: ")
    assert received.startswith("received: ")


def test_a_node_alone_with_entries_renews_as_often() -> None:
    """The other nodes do nothing by themselves, and hold its entries all the same."""
    busy, asleep = (leases.counted(1, 12, owners, 1, 20.0, 60.0) for owners in (2, 1))
    [renewals] = (sent["Renew"] for sent in asleep.sent.values())
    assert renewals > 0
    assert all(sent["Renew"] > renewals / 2 for sent in busy.sent.values())
