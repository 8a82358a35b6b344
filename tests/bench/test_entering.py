"""The measurement of entering many works. Its figures are not tested."""

from __future__ import annotations

import pytest

from tests.bench import entering


@pytest.mark.slow
def test_lists_are_timed_beside_single_commands(capsys: pytest.CaptureFixture[str]) -> None:
    entering.main(["--entries=40"])
    rows = capsys.readouterr().out.splitlines()[1:]
    assert [row.rpartition("  ")[2] for row in rows] == ["8, 8", "8, 8", "0, 0"]
