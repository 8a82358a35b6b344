"""docs/python.md: its examples are files that are linted and typed, and each is run and prints what the page says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import dhtd
from dhtd.testing.networks import BlockingNetwork, testnet_blocking

DEADLINE = 120.0  # seconds; only a hang reaches it
EXAMPLES = Path(__file__).parent / "examples"
PAGE = (Path(__file__).parents[2] / "docs" / "python.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", PAGE, re.MULTILINE | re.DOTALL)
FILES = {path.stem: path.read_text(encoding="utf-8") for path in EXAMPLES.glob("*.py")}
PRINTED = {name: text for code, text in BLOCKS for name, source in FILES.items() if source == code}


@pytest.fixture(scope="module")
def net() -> Iterator[BlockingNetwork]:
    with testnet_blocking(4) as running:
        yield running


def run_example(code: str, net: BlockingNetwork, *options: str) -> str:
    environment = {**os.environ, "DHTD_SOCKET": str(net[0].socket)}
    command = [sys.executable, "-W", "error", *options]
    done = subprocess.run(
        [*command, "-"] if not options else command,
        input=code,
        check=False,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        env=environment,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    return done.stdout


def test_the_page_has_the_examples_and_no_others() -> None:
    assert sorted(code for code, _ in BLOCKS) == sorted(FILES.values())


@pytest.mark.parametrize("loop", ["asyncio", pytest.param("trio", marks=pytest.mark.slow)])  # test_live has both
@pytest.mark.parametrize("name", sorted(FILES.keys() - {"fixture", "blocking"}))
def test_an_example_prints_what_the_page_says(net: BlockingNetwork, name: str, loop: str) -> None:
    code = FILES[name].replace("anyio.run(main)", f"anyio.run(main, backend={loop!r})")
    assert code != FILES[name]
    with dhtd.connect_blocking(net[1].socket) as dht, dht.serve("wiki", 8080):
        assert run_example(code, net) == PRINTED[name]


def test_the_example_that_blocks_prints_what_the_page_says(net: BlockingNetwork) -> None:
    assert run_example(FILES["blocking"], net) == PRINTED["blocking"]


def test_the_example_of_the_fixture_passes(net: BlockingNetwork) -> None:
    options = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:schemathesis", "--rootdir", str(EXAMPLES)]
    options.append(str(EXAMPLES / "fixture.py"))
    assert "2 passed" in run_example("", net, *options)
