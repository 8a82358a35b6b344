"""A confined daemon, as under systemd's RestrictAddressFamilies and SystemCallFilter: by seccomp(2)."""

from __future__ import annotations

import json
import platform
import signal
import subprocess
import sys
from typing import Final

import pytest

from tests.e2e.daemons import BIN, DEADLINE, Network

# A filter that makes these calls fail with this error: see seccomp(2). Then the program is run.
CONFINE: Final = """
import ctypes, os, struct, sys
*calls, number = map(int, sys.argv[1].split(","))
family = int(sys.argv[2])
LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06
steps = [(LOAD, 0, 0, 0)]  # the number of the call
for call in calls:
    if family:
        steps += [(EQUAL, 0, 3, call), (LOAD, 0, 0, 16), (EQUAL, 0, 1, family), (RETURN, 0, 0, 0x50000 | number)]
    else:
        steps += [(EQUAL, 0, 1, call), (RETURN, 0, 0, 0x50000 | number)]
steps.append((RETURN, 0, 0, 0x7FFF0000))
code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps))
program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(steps), ctypes.addressof(code)))
libc = ctypes.CDLL(None, use_errno=True)
if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, program, 0, 0):
    sys.exit(77)
os.execv(sys.argv[3], sys.argv[3:])
"""
CALLS: Final = {  # socket, recvmmsg, sendmmsg
    "x86_64": (41, 299, 307),
    "aarch64": (198, 243, 269),
}
EPERM, ENOSYS, EAFNOSUPPORT = 1, 38, 97
AF_INET: Final = 2

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() not in CALLS, reason="seccomp(2), with the numbers of its calls"
)


def confined(network: Network, calls: str, family: int, *options: str) -> subprocess.Popen[str]:
    """Start a daemon that is confined."""
    state, socket = network.directory / "state.db", network.directory / "s"
    with (network.directory / "log").open("w", encoding="utf-8") as log:
        return subprocess.Popen(
            [
                *(sys.executable, "-c", CONFINE, calls, str(family), str(BIN / "dhtd"), "start", "--json"),
                *(f"--state={state}", f"--socket={socket}", "--port=1797", *options),
            ],
            env=network.environment(),
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )


def check(network: Network, process: subprocess.Popen[str], at: str) -> None:
    """Have another daemon ping it, and end it."""
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if process.poll() == 77:
            pytest.skip("seccomp(2) is not allowed here")
        said = (network.directory / "log").read_text(encoding="utf-8")
        assert line, said
        [daemon] = network.start(1, *(["--bind=::1"] if at.startswith("[") else []))
        assert network.dht(daemon, "ping", at)["node_id"] == json.loads(line)["node_id"]
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE) == 0
        assert "Traceback" not in said
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [EPERM, ENOSYS])
def test_without_batches_datagrams_come_singly(number: int) -> None:
    _, *batches = CALLS[platform.machine()]
    with Network() as network:
        process = confined(network, ",".join(map(str, (*batches, number))), 0, "--bind=127.0.0.1")
        check(network, process, "127.0.0.1:1797")


def test_without_ipv4_a_node_speaks_ipv6() -> None:
    call, *_ = CALLS[platform.machine()]
    with Network() as network:
        process = confined(network, f"{call},{EAFNOSUPPORT}", AF_INET, "--bind=::1")
        check(network, process, "[::1]:1797")
