"""The daemon as a process: how it starts, obeys signals, and ends."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from itertools import count
from pathlib import Path
from random import SystemRandom
from typing import Any, NoReturn, Self
from unittest.mock import Mock

import pytest

from dhtd.config import key_file
from dhtd.config.sources import load_settings
from dhtd.control.client import Client
from dhtd.core.ids import NATIVE, Id
from dhtd.core.messages import Ping
from dhtd.core.policy import DEFAULT
from dhtd.daemon.app import run
from dhtd.daemon.make_driver import policy_of
from dhtd.daemon.outlet import BOUND
from dhtd.daemon.signals import SIGNALS
from dhtd.daemon.state.file import SavedState, StateFile
from dhtd.errors import DaemonTimeout, DaemonUnreachable, KeyUnusable, StateError
from dhtd.service.entries import DELETE
from dhtd.service.node import NODE_ID, STATUS
from dhtd.wire.native import NativeCodec
from tests.e2e.daemons import BIN, DEADLINE, Network
from tests.records import own_key


@pytest.fixture
def network() -> Iterator[Network]:
    with Network() as made:
        yield made


_numbers = count(1)


def address() -> str:
    """Return an address in 127/8 for this test alone."""
    pid = os.getpid()
    return f"127.{1 + pid % 254}.{101 + pid // 254 % 150}.{next(_numbers)}"


class Process:
    """A `dhtd start` with a log that is read line by line. A hang ends in a kill, and so in a wrong exit status."""

    def __init__(self, network: Network, *options: str, script: str = "", **environment: str) -> None:
        self.directory = network.directory
        self.socket = self.directory / "sock"
        command = [sys.executable, "-c", script] if script else [str(BIN / "dhtd")]
        fixed = [f"--bind={address()}", f"--state={self.directory / 'state.db'}", f"--socket={self.socket}", "--json"]
        self.process = subprocess.Popen(
            [*command, "start", *fixed, *options],
            env={**network.environment(), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._timer = threading.Timer(DEADLINE, self.process.kill)
        self._timer.start()
        self.log: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._timer.cancel()
        self.process.kill()
        self.process.communicate()

    def ready(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.end()
        body: dict[str, Any] = json.loads(line)
        assert "error" not in body, body
        return body

    def wait_for(self, text: str) -> str:
        """Return the next log line that has `text` in it."""
        assert self.process.stderr is not None
        while line := self.process.stderr.readline():
            self.log.append(line)
            if text in line:
                return line
        raise AssertionError(f"no {text!r} in {self.log}")

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def end(self) -> tuple[int, str]:
        """Return the exit status and the rest of the log."""
        _, rest = self.process.communicate(timeout=DEADLINE)
        return self.process.returncode, rest


def test_settings_and_networks_shape_the_node() -> None:
    options = {"exempt-network": ["203.0.113.0/24"], "rate-limit": "7", "rate-limit-total": "70", "max-entries": "3"}
    settings = load_settings({**options, "max-operations": "2"}, {})
    policy = policy_of(settings, (bytes((198, 51, 100)),))
    assert policy == replace(
        DEFAULT,
        rate_limit=7.0,
        rate_limit_total=70.0,
        store_entries=3,
        operations=2,
        exempt_networks=(*DEFAULT.exempt_networks, "203.0.113.0/24"),
        own_networks=(bytes((198, 51, 100)),),
    )


def test_it_ends_with_status_0_and_saves(network: Network) -> None:
    notified = network.directory / "notify"
    with manager(notified) as listening, Process(network, NOTIFY_SOCKET=str(notified)) as first:
        ready = first.ready()
        assert listening.recv(64) == b"READY=1"
        assert ready["socket"] == str(first.socket)
        assert ready["state"] == str(network.directory / "state.db")
        assert ready["pid"] == first.process.pid
        first.signal(signal.SIGTERM)
        assert listening.recv(64) == b"STOPPING=1"
        assert_clean(first, "stopping on SIGTERM")
    with Process(network, "--bootstrap=127.0.0.1:9") as again:
        assert again.ready()["node_id"] == ready["node_id"]
        with Client(again.socket, DEADLINE) as client:
            assert not client.info("node")["node"]["restoring"]
        again.signal(signal.SIGINT)
        assert_clean(again, "stopping on SIGINT")


def assert_clean(process: Process, said: str) -> None:
    status, log = process.end()
    assert status == 0
    assert said in log
    assert "Traceback" not in log
    assert not process.socket.exists()


def saved(network: Network) -> SavedState:
    """Return the content of the state file of a daemon that has ended: cheaper than another start."""
    with closing(StateFile.open(network.directory / "state.db")) as file:
        assert file.set_aside is None
        return file.load()


def test_saved_contacts_lead_back(network: Network) -> None:
    [one, other] = network.start(2)
    network.dht(other, "bootstrap", one.endpoint)
    assert other.stop() == 0
    network.launch(other)
    assert network.dht(other, "info", "routing_table")["routing_table"]["buckets"][0]["members"][0]["id"] == one.node_id


# Each runs `dhtd` with one thing in it that goes wrong, at a moment that no test could hit from outside.
RUN = "\nfrom dhtd.cli.dhtd import main\nmain()\n"
HANG_IN_SAVE = """
import os, threading
from dhtd.daemon.state.saver import Saver
def save(self, node):
    os.write(2, b"saving\\n")
    threading.Event().wait()
Saver.save_now = save
"""
FAIL_TO_SAVE = """
from dhtd.daemon.state.saver import Saver
from dhtd.errors import StateError
def save(self, node):
    raise StateError("no space left")
Saver.save_now = save
"""
FULL_DISK = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (53_248, 53_248))
"""
SLOW_TO_RESTORE = """
import trio
from dhtd.daemon import app
async def restore_rest(self, driver):
    await trio.sleep_forever()
app.AT_ONCE = 0
app.Saver.restore_rest = restore_rest
"""
SIGNAL_AT_START = """
import os
from dhtd.daemon.state.file import StateFile
open_file = StateFile.open
def open(*arguments):
    os.kill(os.getpid(), {0})
    return open_file(*arguments)
StateFile.open = open
"""
SIGNAL_AT_THE_END = """
import os, signal
from dhtd.daemon.state.file import StateFile
close = StateFile.close
def close_later(self):
    os.kill(os.getpid(), {0})
    close(self)
StateFile.close = close_later
"""
SIGNALS_IN_A_HANG = """
import os, threading
from dhtd.daemon.state.file import StateFile
def open(*arguments):
    os.kill(os.getpid(), {0})
    os.kill(os.getpid(), {0})
    threading.Event().wait()
StateFile.open = open
"""


def test_info_says_entries_are_being_restored(network: Network) -> None:
    with Process(network, script=SLOW_TO_RESTORE + RUN) as process:
        process.ready()
        with Client(process.socket, DEADLINE) as client:
            assert client.info("node")["node"]["restoring"]
        with Client(process.socket, DEADLINE) as client:
            assert client.ask(STATUS)["restoring"]


def test_a_second_signal_ends_a_hanging_save(network: Network) -> None:
    with Process(network, script=HANG_IN_SAVE + RUN) as process:
        process.ready()
        process.signal(signal.SIGTERM)
        process.wait_for("saving")
        process.signal(signal.SIGHUP)  # changes nothing any more, and harms nothing
        process.signal(signal.SIGINT)
        status, log = process.end()
        assert status == 128 + signal.SIGINT
        assert "stopping at once" in log
        assert not process.socket.exists()


def test_an_unsaved_state_is_the_exit_status(network: Network) -> None:
    with Process(network, script=FAIL_TO_SAVE + RUN) as process:
        process.ready()
        process.signal(signal.SIGTERM)
        status, log = process.end()
        assert status == 1
        assert "Traceback" not in log
        assert not process.socket.exists()


def test_a_full_disk_refuses_entries_only(network: Network) -> None:
    with Process(network, script=FULL_DISK + RUN) as process:
        process.ready()
        entered, refusal = set(), ""
        for number in range(10_000):
            id = f"{number:064x}"
            try:
                with Client(process.socket, DEADLINE) as client:
                    client.enter(id, 80, wait=False)
            except StateError as error:
                refusal = str(error)
                break
            entered.add(id)
        assert "nothing was changed" in refusal
        with Client(process.socket, DEADLINE) as client:
            tracking = client.info("tracking")["tracking"]
        assert {entry["id"] for entry in tracking} == entered
        assert 0 < len(entered) < 10_000
        with Client(process.socket, DEADLINE) as client:
            assert client.ask(DELETE, id=min(entered))["removed"] == [80]
        process.signal(signal.SIGTERM)
        assert process.end()[0] == 0
    assert {NATIVE.format(entry.key) for entry in saved(network).own} == entered - {min(entered)}


@pytest.mark.parametrize(
    ("script", "number"),
    [(SIGNAL_AT_START, signal.SIGTERM), (SIGNAL_AT_START, signal.SIGINT), (SIGNAL_AT_THE_END, signal.SIGINT)],
    ids=["term at the start", "interrupt at the start", "interrupt at the end"],
)
def test_an_early_or_late_signal_ends_it_cleanly(network: Network, script: str, number: int) -> None:
    with Process(network, script=script.format(int(number)) + RUN) as process:
        if script is SIGNAL_AT_THE_END:
            process.ready()
            process.signal(number)
        status, log = process.end()
        assert status == 0, log
        assert "Traceback" not in log
        assert not process.socket.exists()


def test_a_hangup_before_it_is_ready_is_a_reload(network: Network) -> None:
    with Process(network, script=SIGNAL_AT_START.format(int(signal.SIGHUP)) + RUN) as process:
        process.ready()
        process.wait_for("nothing has changed")


def test_a_start_that_hangs_can_be_ended(network: Network) -> None:
    with Process(network, script=SIGNALS_IN_A_HANG.format(int(signal.SIGINT)) + RUN) as process:
        status, log = process.end()
        assert status == 128 + signal.SIGINT
        assert "Traceback" not in log


# Its ends, and that it saves then


def entered(process: Process, port: int) -> None:
    """Have the daemon learn something that is only saved at the end."""
    with Client(process.socket, DEADLINE) as client:
        client.enter(f"{port:064x}", port, wait=False)


FAIL = """
import os
from dhtd.daemon.clients import Clients
from dhtd.daemon.state.saver import Saver
save = Saver.save_now
def save_loudly(self, node):
    save(self, node)
    os.write(2, b"saved\\n")
Saver.save_now = save_loudly
async def fail(self):
    raise {0}
Clients.keep = fail
async def persist(self, kind, work):
    await work()
from dhtd.daemon.defects import Defects
Defects.persist = persist
"""


@pytest.mark.parametrize(
    "error",
    [
        pytest.param("KeyError(1)", marks=pytest.mark.slow),
        pytest.param("MemoryError", marks=pytest.mark.slow),
        "ExceptionGroup('several', [KeyError(1)])",
        "SystemExit(7)",
    ],
)
def test_whatever_ends_it_it_saves_and_says_so(network: Network, error: str) -> None:
    with Process(network, "--log-format=json", script=FAIL.format(error) + RUN) as process:
        status, rest = process.end()
        assert status == 1
        lines = rest.splitlines()
        assert "saved" in lines
        *_, defect, last = [json.loads(line) for line in lines if line.startswith("{")]
        assert error.partition("(")[0] in defect["error"]
        assert (last["level"], "the log has the details" in last["message"]) == ("error", True)
        assert not process.socket.exists()


FAILING_THREADS = """
import threading
def start(self):
    raise RuntimeError("can't start new thread")
threading.Thread.start = start
"""


def test_without_a_thread_it_runs_and_saves(network: Network) -> None:
    with Process(network, script=FAILING_THREADS + RUN) as process:
        node_id = process.ready()["node_id"]
        entered(process, 80)
        process.signal(signal.SIGTERM)
        status, log = process.end()
        assert status == 0
        assert "stopping on SIGTERM" in log
    state = saved(network)
    assert state.node_id == NATIVE.parse(node_id)
    assert state.own == [own_key(Id(80), 80)]


FEW_FILES = """
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, ({0}, {0}))
"""


# The state file, the socket, and the loop itself.
@pytest.mark.parametrize(
    "number", [pytest.param(5, marks=pytest.mark.slow), 8, pytest.param(12, marks=pytest.mark.slow)]
)
def test_too_few_descriptors_name_the_limit(network: Network, number: int) -> None:
    with Process(network, script=FEW_FILES.format(number) + RUN) as process:
        status, log = process.end()
    assert status == 1
    assert f"Too many open files; the limit is {number}): raise `ulimit -n`" in log
    assert "Traceback" not in log


STUCK_LOOP = """
import os
from dhtd.daemon.driver import Driver
reading, _ = os.pipe()
def stuck(self, batch, sources):
    os.write(2, b"stuck\\n")
    os.read(reading, 1)
Driver._handle_batch = stuck
"""


def test_a_second_signal_ends_a_stuck_loop(network: Network) -> None:
    with Process(network, script=STUCK_LOOP + RUN) as process:
        host, port = process.ready()["endpoints"][0].split(":")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as source:
            source.sendto(b"x", (host, int(port)))
        process.wait_for("stuck")
        process.signal(signal.SIGTERM)
        process.signal(signal.SIGINT)
        status, log = process.end()
        assert status in {128 + signal.SIGTERM, 128 + signal.SIGINT}  # two pending ones come in the kernel's order
        assert "stopping at once" in log
        assert not process.socket.exists()


@pytest.mark.slow
def test_logging_waits_for_no_reader(network: Network) -> None:
    """A full pipe could stop these: answers, control, a hangup, and the end."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writing, b"x" * 4096)
    os.set_blocking(writing, True)
    options = [f"--bind={address()}", f"--state={network.directory / 'state.db'}", "--log-level=debug", "--json"]
    options += ["--rate-limit=0"]
    process = subprocess.Popen(
        [BIN / "dhtd", "start", *options, f"--socket={network.directory / 'sock'}"],
        env=network.environment(),
        stdout=subprocess.PIPE,
        stderr=writing,
        text=True,
    )
    timer = threading.Timer(DEADLINE, process.kill)
    timer.start()
    try:
        assert process.stdout is not None
        host, port = json.loads(process.stdout.readline())["endpoints"][0].split(":")
        ping = NativeCodec().encode_query(b"12345678", Id(1), Ping())
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as source:
            source.settimeout(DEADLINE)
            for _ in range(BOUND // 2):
                process.send_signal(signal.SIGHUP)  # each is a line of the log, or more
                source.sendto(ping, (host, int(port)))
                assert source.recv(2048)
        with Client(network.directory / "sock", DEADLINE) as client:
            client.info(None)
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE) == 0
    finally:
        timer.cancel()
        process.kill()
        process.communicate()
        os.close(reading)
        os.close(writing)


def test_a_stopping_client_waits_for_the_end(network: Network) -> None:
    with Process(network) as process:
        ready = process.ready()
        entered(process, 80)
        with Client(process.socket, DEADLINE) as client:
            assert client.stop() == {"pid": ready["pid"]}
        assert not process.socket.exists()
        host, port = ready["endpoints"][0].split(":")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
            free.bind((host, int(port)))
        status, log = process.end()
        assert status == 0
        assert "stopping because a client asks for it" in log
        with Client(process.socket, DEADLINE) as client, pytest.raises(DaemonUnreachable):
            client.stop()


def test_a_stopping_client_hears_of_a_failed_save(network: Network) -> None:
    with Process(network, script=FAIL_TO_SAVE + RUN) as process:
        process.ready()
        with Client(process.socket, DEADLINE) as client, pytest.raises(StateError, match="no space left"):
            client.stop()
        assert process.end()[0] == 1


def test_a_late_client_waits_for_the_end_too(network: Network) -> None:
    with Process(network, script=HANG_IN_SAVE + RUN) as process:
        process.ready()
        with Client(process.socket, 0.5) as client, pytest.raises(DaemonTimeout, match="--timeout"):
            client.stop()
        process.wait_for("saving")
        process.signal(signal.SIGTERM)  # the first, but it stops already
        process.signal(signal.SIGINT)
        assert process.end()[0] in {128 + signal.SIGTERM, 128 + signal.SIGINT}


def test_a_hangup_remakes_a_removed_socket(network: Network) -> None:
    with Process(network, f"--socket={network.directory / 'run' / 'sock'}") as process:
        process.socket = network.directory / "run" / "sock"
        node_id = process.ready()["node_id"]
        shutil.rmtree(process.socket.parent)
        process.signal(signal.SIGHUP)
        process.wait_for("made it again")
        with Client(process.socket, DEADLINE) as client:
            assert client.ask(NODE_ID)["node_id"] == node_id
        process.signal(signal.SIGTERM)
        assert process.end()[0] == 0
        assert not process.socket.exists()


ON_A_TERMINAL = """
import fcntl, os, sys, termios
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv({0!r}, {1!r})
"""


@pytest.mark.parametrize("prelude", ["", "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)"])
def test_a_closed_terminal_ends_it_unless_nohup(network: Network, prelude: str) -> None:
    ours, theirs = os.openpty()
    arguments = [str(BIN / "dhtd"), "start", f"--bind={address()}", f"--state={network.directory / 'state.db'}"]
    arguments += [f"--socket={network.directory / 'sock'}", "--json"]
    process = subprocess.Popen(
        [sys.executable, "-c", prelude + ON_A_TERMINAL.format(arguments[0], arguments)],
        env=network.environment(),
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=theirs,
        text=True,
    )
    timer = threading.Timer(DEADLINE, process.kill)
    timer.start()
    try:
        os.close(theirs)
        assert process.stdout is not None
        assert process.stdout.readline()
        os.close(ours)
        if prelude:
            with Client(network.directory / "sock", DEADLINE) as client:
                client.ask(NODE_ID)
            process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE) == 0
        assert not (network.directory / "sock").exists()
    finally:
        timer.cancel()
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    ("style", "option", "status", "said"),
    [
        ("text", "--port=0", 2, "port"),
        ("json", "--state=/dev/null", 1, "not a regular file"),
        pytest.param("json", "--port=0", 2, "port", marks=pytest.mark.slow),
        pytest.param("text", "--state=/dev/null", 1, "not a regular file", marks=pytest.mark.slow),
    ],
)
def test_a_failed_start_is_told_as_in_the_log(
    network: Network, style: str, option: str, status: int, said: str
) -> None:
    with Process(network, option, DHTD_LOG_FORMAT=style) as process:
        found, log = process.end()
        assert found == status
        *_, line = log.splitlines()
        if style == "json":
            body = json.loads(line)
            assert (body["level"], said in body["message"]) == ("error", True)
        else:
            assert "Z error: " in line
            assert said in line


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be process 1")
def test_as_process_1_it_ends_cleanly(network: Network) -> None:
    arguments = [f"--bind={address()}", f"--state={network.directory / 'state.db'}", "--json"]
    arguments += [f"--socket={network.directory / 'sock'}"]
    process = subprocess.Popen(
        ["unshare", "--pid", "--fork", "--kill-child", BIN / "dhtd", "start", *arguments],
        env=network.environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["pid"] == 1
        with Client(network.directory / "sock", DEADLINE) as client:
            assert client.stop() == {"pid": 1}
        assert process.wait(DEADLINE) == 0
    finally:
        process.kill()
        process.communicate()


def rate_limited(process: Process, endpoint: str, queries: int) -> int:
    """Send the daemon queries, all at once; return how many in all it has left unanswered."""

    def network(client: Client) -> dict[str, Any]:
        return client.info("network")["network"]

    host, port = endpoint.split(":")
    ping = NativeCodec().encode_query(b"12345678", Id(1), Ping())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as source:
        source.bind((host, 0))
        with Client(process.socket, DEADLINE) as client:
            received = network(client)["datagrams_received"] + queries
        for _ in range(queries):
            source.sendto(ping, (host, int(port)))
        while True:
            with Client(process.socket, DEADLINE) as client:
                counters = network(client)
            if counters["datagrams_received"] >= received:
                return int(counters["rate_limited"])


def test_a_hangup_applies_what_it_can(network: Network) -> None:
    config = network.directory / "dhtd.toml"
    config.write_text('log-level = "info"\n')
    with Process(network, f"--config={config}", "--log-format=json") as process:
        [endpoint] = process.ready()["endpoints"]
        assert rate_limited(process, endpoint, queries=100) == 0
        changed = 'log-level = "debug"\nrate-limit = 7\nbootstrap = ["127.0.0.1:9"]\n'
        config.write_text(changed + f'node-id = "{"5" * 64}"\n')
        process.signal(signal.SIGHUP)
        keys = ("bootstrap", "node-id", "rate-limit", "log-level")
        said = [json.loads(process.wait_for(key))["message"] for key in keys]
        assert ["restart" in message for message in said] == [False, True, False, False]

        config.write_text('log-level = "warn"\n')
        process.signal(signal.SIGHUP)
        broken = json.loads(process.wait_for("left as it was"))
        assert (broken["level"], "log-level" in broken["message"]) == ("error", True)
        config.write_text("log-level = \n")
        process.signal(signal.SIGHUP)
        process.wait_for("left as it was")
        config.unlink()
        process.signal(signal.SIGHUP)
        process.wait_for("left as it was")

        config.write_text(changed)
        process.signal(signal.SIGHUP)
        process.wait_for("nothing has changed")
        with Client(process.socket, DEADLINE) as client:
            assert client.ask(NODE_ID)["node_id"] != "5" * 64
        assert rate_limited(process, endpoint, queries=100) > 0
        process.signal(signal.SIGTERM)
        assert process.end()[0] == 0


LOOKS_AT_ONCE = """
from dataclasses import replace
import dhtd.daemon.serving
from dhtd.core import policy
dhtd.daemon.serving.LOOK = 0.01
policy.MAINLINE = replace(policy.MAINLINE, outside_lasts=0.0)
"""


def test_a_node_without_strangers_serves_contacts(network: Network) -> None:
    with Process(network, "--network=mainline", script=LOOKS_AT_ONCE + RUN) as process:
        process.ready()
        process.wait_for("no stranger has reached this node for an hour: it serves its contacts")
        with Client(process.socket, DEADLINE) as client:
            assert client.ask(STATUS)["serves"] == "contacts"
        process.signal(signal.SIGTERM)
        assert process.end()[0] == 0


IMPATIENT = """
import sys
import dhtd.daemon.reloading
dhtd.daemon.reloading.READ_WITHIN = 0.1
"""


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGUSR1])
def test_a_hanging_configuration_blocks_nobody(network: Network, end: signal.Signals) -> None:
    config = network.directory / "dhtd.toml"
    config.touch()
    with Process(network, f"--config={config}", script=IMPATIENT + RUN) as process:
        node_id = process.ready()["node_id"]
        config.unlink()
        os.mkfifo(config)
        for _ in range(2):  # the second one waits for the first one's thread
            process.signal(signal.SIGHUP)
            process.wait_for("left as it was: it cannot be read within")
        with Client(process.socket, DEADLINE) as client:
            assert client.ask(NODE_ID)["node_id"] == node_id
        process.signal(end)
        assert process.end()[0] == (0 if end == signal.SIGTERM else -end)
        assert not process.socket.exists()


@contextmanager
def full_pipe() -> Iterator[int]:
    """A pipe that nobody reads."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writing, bytes(4096))
    os.set_blocking(writing, True)
    yield writing
    os.close(reading)
    os.close(writing)


def test_a_failed_start_ends_without_a_reader(network: Network) -> None:
    options = ["--json", f"--bind={address()}", f"--state={network.directory}", f"--socket={network.directory}/sock"]
    with full_pipe() as full:
        done = subprocess.run(
            [BIN / "dhtd", "start", *options],
            env=network.environment(),
            stdout=full,
            stderr=full,
            timeout=DEADLINE,
            check=False,
        )
    assert done.returncode == StateError.exit_status


@contextmanager
def manager(path: Path) -> Iterator[socket.socket]:
    """Be the service manager that hears when a daemon is ready."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
        made.bind(str(path))
        made.settimeout(DEADLINE)
        yield made


@pytest.mark.parametrize("redirection", [">/dev/full", "| true", pytest.param(">&-", marks=pytest.mark.slow)])
def test_a_blocked_stdout_ends_no_daemon(network: Network, redirection: str) -> None:
    path = network.directory / "notify"
    command = f"exec {BIN / 'dhtd'} start --bind={address()} {redirection}"
    environment = {**network.environment(), "NOTIFY_SOCKET": str(path), "XDG_STATE_HOME": str(network.directory)}
    with (
        manager(path) as listening,
        subprocess.Popen(["/bin/sh", "-c", command], env=environment, start_new_session=True) as shell,
    ):
        try:
            assert listening.recv(64) == b"READY=1"
            with Client(network.directory / "dhtd" / "default.sock", DEADLINE) as client:
                pid = client.info("node")["node"]["pid"]
            os.kill(pid, signal.SIGTERM)
            assert listening.recv(64) == b"STOPPING=1"
            assert shell.wait(DEADLINE) == 0
        finally:
            shell.kill()


def test_a_taken_port_ends_it_without_a_socket(network: Network) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind((address(), 0))
        host, port = other.getsockname()
        with Process(network, f"--bind={host}", f"--port={port}") as process:
            out, err = process.process.communicate(timeout=DEADLINE)
            assert process.process.returncode == 1
            assert json.loads(out)["error"]["code"] == "port-taken"
            assert "Traceback" not in err
            assert not process.socket.exists()


def test_a_second_daemon_harms_nothing(network: Network) -> None:
    with Process(network) as first:
        ready = first.ready()
        there = f"control socket is {first.socket}"
        for option, code, said in (
            (f"--socket={network.directory / 'other'}", "state-locked", (f"process {first.process.pid}", there)),
            (f"--state={network.directory / 'other.db'}", "socket-in-use", (str(first.socket),)),
        ):
            with Process(network, option) as second:
                out, err = second.process.communicate(timeout=DEADLINE)
                assert second.process.returncode == 1
                error = json.loads(out)["error"]
                assert error["code"] == code
                assert sys.platform != "linux" or all(each in error["message"] for each in said), error
                assert "Traceback" not in err
        with Client(first.socket, DEADLINE) as client:
            assert client.ask(NODE_ID)["node_id"] == ready["node_id"]


def test_a_private_state_file_needs_its_key(network: Network) -> None:
    own, foreign = (network.directory / f"{name}.key" for name in ("own", "foreign"))
    for path in (own, foreign):
        key_file.make(path, SystemRandom())
    config = network.directory / "dhtd.toml"
    config.write_text(f'network-key = ["{own}"]')
    with Process(network, f"--config={config}") as process:
        node_id = process.ready()["node_id"]
        config.write_text(f'network-key = ["{foreign}"]')
        process.signal(signal.SIGHUP)
        assert "the configuration is left as it was: no network key is one of those in use" in process.wait_for("left")
        process.signal(signal.SIGTERM)
        assert process.end()[0] == 0
    for options in ([], [f"--network-key={foreign}"]):
        with Process(network, *options) as process:
            assert process.process.stdout is not None
            error = json.loads(process.process.stdout.readline())["error"]
            assert (error["code"], process.end()[0]) == ("wrong-network", 1)
            assert "belongs to a private network" in error["message"]
    for options in ([f"--network-key={own}", f"--network-key={foreign}"], ["--change-network"], []):
        with Process(network, *options) as process:
            assert process.ready()["node_id"] == node_id
            process.signal(signal.SIGTERM)
            assert process.end()[0] == 0


def test_a_damaged_state_file_is_logged(network: Network) -> None:
    (network.directory / "state.db").write_bytes(b"not a database, but surely precious" * 100)
    with Process(network) as process:
        process.ready()
        line = process.wait_for("damaged")
        [aside] = network.directory.glob("state.db.damaged*")
        assert str(aside) in line
        assert aside.read_bytes().startswith(b"not a database")


def test_a_damaged_file_is_told_on_a_failed_start(network: Network) -> None:
    (network.directory / "state.db").write_bytes(b"not a database, but surely precious" * 100)
    with Process(network, "--socket=/dev/null") as process:
        status, log = process.end()
    [aside] = network.directory.glob("state.db.damaged*")
    assert status == 1
    assert "no socket" in log
    assert str(aside) in log


def test_a_killed_daemons_socket_is_recovered(network: Network) -> None:
    with Process(network) as process:
        process.ready()
        process.signal(signal.SIGKILL)
        process.end()
        with Client(process.socket, DEADLINE) as client, pytest.raises(DaemonUnreachable, match="left over"):
            client.ask(NODE_ID)
    with Process(network) as again:
        again.ready()


def test_a_failed_start_returns_the_descriptor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> NoReturn:
        raise KeyUnusable("no key")

    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    monkeypatch.setattr("dhtd.daemon.app.key_file.read_all", fail)
    monkeypatch.setattr("dhtd.daemon.app.log_module", Mock())
    settings = load_settings({"state": str(tmp_path / "s.db"), "config": os.devnull}, {"HOME": str(tmp_path)})
    try:
        with pytest.raises(KeyUnusable):
            run(settings, lambda ready: None, lambda: settings)
        assert signal.set_wakeup_fd(-1) == -1
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
