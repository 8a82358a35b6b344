"""What a terminal shows of a node in the Mainline network: its IDs by family, and whom it serves."""

from __future__ import annotations

from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from dhtd.cli.render_node import about_node
from dhtd.cli.told import Told
from tests.cli.test_output import INFO

NODE: dict[str, Any] = INFO["node"]
FOUR, SIX = "ab" * 20, "cd" * 20


def shown(**changes: object) -> list[str]:
    """Return the lines of the node with these changes, blanks joined."""
    out = StringIO()
    Console(file=out, width=120).print(about_node(Told({**NODE, **changes})))
    return [" ".join(line.split()) for line in out.getvalue().splitlines()]


def families(*suits: bool | None) -> list[dict[str, Any]]:
    return [
        {**family, "node_id": id, "id_suits": each}
        for family, id, each in zip(NODE["families"], (FOUR, SIX), suits, strict=True)
    ]


def test_ids_that_follow_addresses_are_shown_apart() -> None:
    lines = shown(families=families(True, False))
    assert f"IDs IPv4 {FOUR} suits its address" in lines
    assert f"IPv6 {SIX} does not suit its address yet" in lines
    assert f"IDs IPv6 {SIX} suits its address" in shown(families=families(None, True))
    assert not any(line.startswith("IDs") for line in shown(families=families(None, None)))


def test_the_network_is_named() -> None:
    assert any(line.startswith("network mainline: ● connected") for line in shown(network="mainline"))
    assert any(line.startswith("network ● connected") for line in shown())


@pytest.mark.parametrize(
    ("serves", "words"), [("contacts", "its contacts only"), ("nobody", "nobody"), ("friends", "friends")]
)
def test_a_read_only_node_says_whom_it_serves(serves: str, words: str) -> None:
    assert f"serves read-only: it answers {words}" in shown(serves=serves)
    assert not any(line.startswith("serves") for line in shown())
