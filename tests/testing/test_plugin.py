"""The fixture `dhtd_testnet`, in runs of pytest of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

DEADLINE = 120.0  # seconds; only a hang reaches it


def pytest_run(directory: Path, source: str, *options: str) -> tuple[int, str]:
    (directory / "test_it.py").write_text(source)
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error", "--strict-markers", "-p", "no:cacheprovider"]
    command += ["-p", "no:schemathesis"]  # its plugin takes half a second to import
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [*command, *options, "--rootdir", directory, directory / "test_it.py"],
        check=False,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        env=environment,
        cwd=directory,
    )
    return done.returncode, done.stdout + done.stderr


def test_a_test_has_a_network_by_the_fixture(tmp_path: Path) -> None:
    source = """
import dhtd, pytest
from dhtd.testing import testnet, testnet_blocking, BlockingNetwork

def test_eight(dhtd_testnet):
    assert len(dhtd_testnet) == 8
    with dhtd.connect_blocking(dhtd_testnet[7].socket) as dht:
        assert dht.status().state == "joined"

@pytest.mark.dhtd_testnet(2, network="mainline")
def test_two(dhtd_testnet: BlockingNetwork):
    assert dhtd_testnet[1].node_id.network == "mainline"
    dhtd_testnet.kill(0)

@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
@pytest.mark.dhtd_testnet(size=2)
async def test_async(dhtd_testnet, anyio_backend):
    async with dhtd.connect(dhtd_testnet[0].socket) as dht, dht.serve("wiki", 80):
        assert [endpoint.port async for endpoint in dht.lookup("wiki")] == [80]
"""
    status, output = pytest_run(tmp_path, source, "-p", "no:trio")
    assert status == 0, output
    assert "4 passed" in output, output  # and nothing that is imported was taken for a test


def test_a_run_that_asks_for_none_imports_nothing(tmp_path: Path) -> None:
    source = """
import sys

def test_it():
    assert "dhtd.testing.plugin" in sys.modules
    assert not [name for name in sys.modules if name.startswith(("dhtd.daemon", "dhtd.core", "dhtd.api"))]
"""
    status, output = pytest_run(tmp_path, source)
    assert status == 0, output


def test_the_fixture_is_listed_with_its_marker(tmp_path: Path) -> None:
    assert "dhtd_testnet(size=8" in pytest_run(tmp_path, "", "--markers")[1]
    assert "A network of 8 real nodes" in pytest_run(tmp_path, "", "--fixtures")[1]
