"""docs/how-it-works.md: its programs and commands print what the page says, and its pictures are what is drawn."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from tests.e2e.daemons import BIN
from tests.picture import lookup, ring

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "how-it-works.md").read_text(encoding="utf-8")
PROGRAMS = re.findall(r"^```python\n(.*?)^```\n\n```text\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
DEADLINE = 1_200.0  # seconds; only a hang reaches it


def transcript() -> list[tuple[str, str]]:
    """Return the commands of the page, each with what it prints."""
    page = re.sub(r"^```.*?^```$", "", PAGE, flags=re.MULTILINE | re.DOTALL)
    page = page.partition("## See it")[0]  # what stands there has no end
    lines = [line.removeprefix("    ") for line in page.splitlines() if line.startswith("    ")]
    starts = [number for number, line in enumerate(lines) if line.startswith("$ ")] + [len(lines)]
    return [(lines[start][2:], "\n".join(lines[start + 1 : end])) for start, end in pairwise(starts)]


@pytest.mark.parametrize(("program", "printed"), PROGRAMS)
def test_a_program_prints_what_the_page_says(program: str, printed: str) -> None:
    command = [sys.executable, "-W", "error", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=DEADLINE)
    assert (done.stdout, done.stderr) == (printed, "")


@pytest.mark.slow
@pytest.mark.parametrize(("command", "printed"), transcript())
def test_a_command_prints_what_the_page_says(command: str, printed: str) -> None:
    environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-c", command], env=environment, capture_output=True, text=True, check=False, timeout=DEADLINE
    )
    lines = filter(None, done.stdout.splitlines())  # the page is read without its empty lines
    assert ("\n".join(lines), done.stderr) == (printed, "")


@pytest.mark.parametrize(("name", "draw"), [("ring.svg", ring.draw), ("lookup.svg", lookup.draw)])
def test_a_picture_is_what_is_drawn(name: str, draw: Callable[[Path], None], tmp_path: Path) -> None:
    draw(tmp_path / name)
    is_same = (tmp_path / name).read_bytes() == (DOCS / name).read_bytes()
    assert is_same, f"`python3 dev.py picture docs/{name}` draws it anew"


def test_the_page_has_programs_commands_and_pictures() -> None:
    assert len(PROGRAMS) == 3
    assert len(transcript()) >= 6
    assert set(re.findall(r"\]\((\w+\.svg)\)", PAGE)) >= {"ring.svg", "lookup.svg"}
