"""docs/dns.md: each command prints what the page says, but for the address of the machine."""

from __future__ import annotations

import re
import shutil
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest

from tests.e2e.daemons import BIN, DEADLINE, Network

PAGE = (Path(__file__).parents[2] / "docs" / "dns.md").read_text(encoding="utf-8")
SERVED, OWNER = "127.0.0.1", "192.168.1.10"  # on the page


def transcript() -> list[tuple[str, str]]:
    """Return the commands of the page, and what each prints."""
    lines = [line[4:] for line in PAGE.splitlines() if line.startswith("    ")]
    starts = [number for number, line in enumerate(lines) if line.startswith("$ ")] + [len(lines)]
    return [
        (lines[start][2:], "".join(f"{line}\n" for line in lines[start + 1 : end])) for start, end in pairwise(starts)
    ]


@pytest.mark.skipif(
    None in (shutil.which("dig"), shutil.which("xxd")),
    reason="dig or xxd is not installed: apt-get install bind9-dnsutils xxd",
)
def test_the_transcript_is_what_happens() -> None:
    with Network() as network:
        served = f"{network.subnet}.250"
        [daemon] = network.start(1, f"--dns={served}:1753")
        [owner] = network.start(1)
        network.dht(daemon, "bootstrap", owner.endpoint)
        env = {**network.environment(), "PATH": f"{BIN}:{network.environment()['PATH']}"}

        def here(text: str) -> str:
            text = text.replace(SERVED, served).replace(OWNER, owner.address)
            return text.replace(OWNER.replace(".", "-"), owner.address.replace(".", "-"))

        for command, output in transcript():
            asked = owner if "enter" in command else daemon
            done = subprocess.run(
                ["bash", "-o", "pipefail", "-c", here(command)],
                env={**env, "DHTD_SOCKET": str(asked.socket)},
                capture_output=True,
                text=True,
                check=False,
                timeout=DEADLINE,
            )
            assert done.returncode == 0, (command, done.stderr)
            if "enter" not in command:
                assert done.stdout == here(output), command


def test_the_page_shows_every_step() -> None:
    verbs = [re.split(r"[ |]", command)[0] for command, _ in transcript()]
    assert verbs.count("dig") >= 7
    assert verbs.count("dht") >= 6
