"""The benchmark of the DNS door works: a few questions of each kind, every answer checked. Speed is not tested."""

from __future__ import annotations

import pytest

from tests.bench.dns import check, made, main


def test_each_kind_of_question_is_answered(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--rounds=1", "--questions=800"]) == 0
    printed = capsys.readouterr().out
    assert "; 0 lost" in printed
    assert len(printed.splitlines()) == 9


@pytest.mark.parametrize("change", [lambda answer: b"", lambda answer: answer[:3] + b"\2" + answer[4:]])
def test_an_answer_that_is_none_is_no_figure(change: object) -> None:
    asked = made("wiki.dht.alt", "A", 7)
    answer = asked[:2] + b"\x85\0" + asked[4:]
    check(answer, asked)
    with pytest.raises((AssertionError, IndexError)):
        check(change(answer), asked)  # type: ignore[operator]
