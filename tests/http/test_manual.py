"""dht-http(7) against the code: its resources, statuses, limits, and its examples as they are pasted."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from dhtd import errors
from dhtd.core.ids import NATIVE
from dhtd.http import caller, connections, event_stream, exchange, paging, reading, watch_memory
from dhtd.http.openapi import document
from dhtd.http.problems import status_of
from dhtd.http.resources import RESOURCES
from tests.e2e.daemons import BIN, DEADLINE, Network

SOURCE = (Path(__file__).parents[2] / "man" / "dht-http.7").read_text(encoding="utf-8")


def section(title: str) -> str:
    [found] = re.findall(rf"^\.Sh {title}\n(.*?)(?=^\.Sh |\Z)", SOURCE, re.MULTILINE | re.DOTALL)
    return str(found)


def test_the_page_lists_every_resource() -> None:
    listed = re.findall(r"^\.It Li ([A-Z]+ \S+)$", section("RESOURCES"), re.MULTILINE)
    assert sorted(listed) == sorted(
        [*(f"{each.verb} {each.path}" for each in RESOURCES), "GET /", "GET /healthz", "GET /metrics", "GET /readyz"]
    )


def test_the_page_lists_every_status() -> None:
    listed = {int(status) for status in re.findall(r"^\.It (\d{3})$", section("PROBLEMS"), re.MULTILINE)}
    responses = [verb["responses"] for path in document(NATIVE)["paths"].values() for verb in path.values()]
    documented = {int(status) for each in responses for status in each} - {200}
    assert listed == documented | {405}
    assert {status_of(kind).value for kind in (errors.NoPong, errors.PeerRefused)} <= listed


@pytest.mark.parametrize(
    ("title", "words"),
    [
        ("RESOURCES", f"has {reading.BODY_MAX} bytes at most"),
        ("RESOURCES", f"rows, {paging.LIMIT} if the query does not say, and {paging.LIMIT_MAX} at most"),
        ("EVENTS", f"the latest {watch_memory.KEPT_MAX} ids"),
        ("EVENTS", f"Every {event_stream.SILENT_FOR:g} seconds"),
        ("PROBLEMS", f"not there in {exchange.BODY_WITHIN:g} seconds"),
        ("LIMITS", f"There are {connections.CONNECTIONS_MAX} connections"),
        ("LIMITS", f"{caller.STREAMS_MAX} of them"),
        ("LIMITS", f"closed after {connections.IDLE_FOR:g} seconds"),
        ("LIMITS", f"A head has {connections.HEAD_MAX} bytes"),
        ("LIMITS", f"for {connections.READ_WITHIN:g} seconds is cut off"),
    ],
)
def test_the_page_gives_the_limits_of_the_code(title: str, words: str) -> None:
    assert words in section(title)


def test_the_examples_work_as_they_are_pasted() -> None:
    with Network() as network:
        [daemon] = network.start(1, f"--http={network.subnet}.250:8729")
        [second] = network.start(1)
        network.dht(daemon, "bootstrap", second.endpoint)
        [url] = daemon.ready["doors"]
        lines = re.findall(r"^\$ (.*)", section("ACCESS") + section("EXAMPLES"), re.MULTILINE)
        env = {**network.environment(), "DHTD_SOCKET": str(daemon.socket), "URL": url}
        done = subprocess.run(
            [
                "bash",
                "-eu",
                "-o",
                "pipefail",
                "-c",
                "\n".join(line.replace("curl", "curl -sSf").replace("http://127.0.0.1:8729", url) for line in lines),
            ],
            env={**env, "PATH": f"{BIN}:{env['PATH']}"},
            capture_output=True,
            text=True,
            check=False,
            timeout=DEADLINE,
        )
    assert (done.returncode, done.stderr) == (0, "")
    assert '"state":"joined"' in done.stdout
    assert f'"peers":["{daemon.address}:8080"]' in done.stdout
    assert "event: result\n" in done.stdout
