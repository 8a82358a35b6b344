"""The benchmark of silence works, with few entries. Times are not tested."""

from __future__ import annotations

import pytest

from tests.bench import silence


def test_each_load_is_measured(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(silence, "IDLE", 0.1)
    assert silence.main(["--entries=300"]) == 0
    heading, columns, *rows = capsys.readouterr().out.splitlines()
    assert heading.startswith("300 held and 300 own entries")
    assert "longest silence" in columns
    assert len(rows) == 7
    assert all(row.count(" ms") == 2 for row in rows)
