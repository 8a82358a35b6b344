"""docs/http.md: each command prints what the page says, and so does its program. `...` stands for what varies."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from dhtd.http.resources import RESOURCES
from tests.e2e.daemons import BIN, DEADLINE, Network

PAGE = (Path(__file__).parents[2] / "docs" / "http.md").read_text(encoding="utf-8")


def transcript() -> list[tuple[str, list[str]]]:
    """Return the commands of the page, and the lines that each prints."""
    page = re.sub(r"^```.*?^```$", "", PAGE, flags=re.MULTILINE | re.DOTALL)
    lines = [line[4:] for line in page.splitlines() if line.startswith("    ")]
    lines = lines[next(number for number, line in enumerate(lines) if line.startswith("$ ")) :]
    lines = [line for line in lines if not line.startswith("curl ")]  # needs a path of this machine
    starts = [number for number, line in enumerate(lines) if line.startswith("$ ")] + [len(lines)]
    return [(lines[start][2:], lines[start + 1 : end]) for start, end in pairwise(starts)]


def fenced(language: str) -> str:
    [block] = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return str(block)


def first_lines(command: list[str], many: int, env: dict[str, str]) -> list[str]:
    """Run a command, and end it once it has printed so many lines: some print without end."""
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline().rstrip("\n") for _ in range(many)]
        os.killpg(process.pid, signal.SIGKILL)
    return lines


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_transcript_is_what_happens() -> None:
    with Network() as network:
        place = f"{network.subnet}.250"
        [daemon] = network.start(1, f"--http={place}:8729")
        [other] = network.start(1)
        network.dht(daemon, "bootstrap", other.endpoint)
        env = {**network.environment(), "DHTD_SOCKET": str(daemon.socket)}
        env["PATH"] = f"{BIN}:{env['PATH']}"

        def here(text: str) -> str:
            return text.replace("127.0.0.1:8729", f"{place}:8729").replace("127.0.0.1:8080", f"{daemon.address}:8080")

        (start, _), *commands = transcript()
        told = subprocess.check_output(["bash", "-ec", f'{here(start)}; echo "$TOKEN $URL"'], env=env, text=True)
        env["TOKEN"], env["URL"] = told.split()
        for command, expected in commands:
            script = ["bash", "-o", "pipefail", "-c", here(command)]
            if "curl -sN" in command:
                lines = first_lines(script, len(expected), env)
            else:
                done = subprocess.run(script, env=env, capture_output=True, text=True, check=False, timeout=DEADLINE)
                assert (done.returncode, done.stderr) == (0, ""), command
                lines = done.stdout.splitlines()
            pattern = re.escape(here("\n".join(expected))).replace(re.escape("..."), ".*")
            assert re.fullmatch(pattern, "\n".join(lines)), (command, lines)

        token = network.dht(daemon, "token")["token"]
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", fenced("python")],
            env={**env, "TOKEN": token, "URL": f"http://{place}:8729"},
            capture_output=True,
            text=True,
            check=False,
            timeout=DEADLINE,
        )
        assert (done.stdout, done.stderr) == (here(fenced("text")), "")


def test_the_page_names_what_there_is() -> None:
    named = {re.sub(r"\?.*", "", path) for path in re.findall(r"/v1/[a-z-]+", PAGE)}
    there = {re.sub(r"/\{.*", "", each.path) for each in RESOURCES} | {"/v1/openapi"}
    assert named <= there
    assert len(transcript()) >= 10
    assert yaml.safe_load(fenced("yaml"))["scrape_configs"][0]["job_name"] == "dhtd"  # the job of the alert DhtdDown
