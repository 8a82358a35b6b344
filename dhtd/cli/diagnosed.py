"""What `dht doctor` adds to the diagnosis of the daemon: what only a client sees.

That is: whether a daemon is there, and of which version; whether another daemon of this machine is meant; and whether
services of other machines accept a connection from here. The user's own process connects to these.
"""

from __future__ import annotations

import os
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

from dhtd import __version__
from dhtd.cli.told import Told
from dhtd.errors import DhtdError

if TYPE_CHECKING:
    from pathlib import Path

    from dhtd.cli.arguments import Key

TRIED_MAX: Final = 4  # endpoints of other machines
CONNECT_WITHIN: Final = 2.0  # seconds
ASK_WITHIN: Final = 2.0  # seconds for another daemon of this machine


def step(name: str, message: str, fault: str | None = None, *, is_good: bool | None = True) -> dict[str, Any]:
    """Return a step as the daemon tells them."""
    return {"step": name, "good": False if fault else is_good, "message": message, "fault": fault}


class Diagnosis:
    """The result of the daemon, and what is found besides."""

    def __init__(self, body: dict[str, Any]) -> None:
        self.body = body

    def fails(self, name: str, fault: str, verdict: str, command: str | None) -> dict[str, Any]:
        """Take this fault as the verdict; return its step."""
        added = step(name, verdict, fault)
        self.body |= {"healthy": False, "fault": fault, "verdict": verdict, "command": command}
        return self._add(added)

    def _add(self, added: dict[str, Any]) -> dict[str, Any]:
        steps = self.body.get("steps")
        self.body["steps"] = [*(steps if isinstance(steps, list) else []), added]
        return added

    def look_at_services(self, key: Key) -> dict[str, Any] | None:
        """Try the services on other machines; return the step. None if there is nothing to try."""
        told = Told(self.body)
        served = told.texts("served")[:TRIED_MAX]
        if told.value("healthy") is not True or not served:
            return None
        with ThreadPoolExecutor(TRIED_MAX) as threads:
            outcomes = dict(zip(served, threads.map(try_connecting, served), strict=True))
        answering = [endpoint for endpoint, why in outcomes.items() if why is None]
        name = key.name or f"{key.id[:8]}..."
        if answering:
            which = ", ".join(answering)
            self.body["verdict"] = f"{told.text('verdict')}, and {which} answers"
            return self._add(step("service", f"{which} accepts a connection from here"))
        failed = "; ".join(f"{endpoint}: {why}" for endpoint, why in outcomes.items())
        verdict = (
            f"{name} is in the network, and nothing accepts a TCP connection from here ({failed}). Ask on its own"
            " machine, which also knows whether it speaks UDP alone"
        )
        return self.fails("service", "service-unreachable", verdict, f"dht doctor {_argument(key)}")

    def look_at_other_networks(self, key: Key) -> dict[str, Any] | None:
        """If nobody has entered a name, see whether this machine has in another network; return the step."""
        from dhtd.config.networks import NETWORKS, network_of

        if self.body.get("fault") != "not-entered" or key.name is None:
            return None
        own = network_of(key.id)
        for other in NETWORKS.values():
            if other is not own and has_entered(other.name, key.name):
                verdict = f"{key.name} was entered in the {other.name} network, and not in the {own.name} network"
                command = f"dht --network {other.name} doctor {_argument(key)}"
                return self.fails("other network", "other-network", verdict, command)
        return None

    def look_at_version(self) -> dict[str, Any] | None:
        """Compare the versions; return the step. Another fault goes before."""
        version = self.body.get("version")
        if not isinstance(version, str) or version == __version__:
            return None
        message = f"the daemon that runs is dhtd {version}, and this dht is {__version__}: restart it"
        if self.body.get("fault") is not None:
            return self._add(step("version", message, is_good=None))
        return self.fails("version", "versions-differ", message, "dht stop; dhtd start")


def no_daemon(error: DhtdError, key: Key | None, asked: str | None) -> Diagnosis:
    """Return the diagnosis where no daemon answers. `asked`: the instance that was asked, if that is known."""
    sentence, _, start = str(error).partition(". Start one: ")
    others = [each for each in running() if each != asked]
    diagnosis = Diagnosis({"id": key and key.id, "name": key and key.name, "steps": [], "version": None, "served": []})
    command = start or "dhtd start"
    if others:
        sentence += f". This user runs another one: {', '.join(others)}"
        command = f"dht --instance {others[0]} doctor{f' {_argument(key)}' if key else ''}"
    diagnosis.fails("daemon", "no-daemon", sentence, command)
    return diagnosis


def running() -> list[str]:
    """Return the instances of this user with a daemon that accepts connections."""
    from dhtd.config import paths

    try:
        places = sorted(paths.control_socket().parent.glob("*.sock"))
    except (DhtdError, OSError):
        return []
    return [path.stem for path in places if _accepts(path)]


def _accepts(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(ASK_WITHIN)
        try:
            connection.connect(str(path))
        except OSError:
            return False
    return True


def has_entered(network: str, name: str) -> bool:
    """Whether the daemon of a network on this machine has entered a name."""
    from dhtd.config.sources import client_socket
    from dhtd.control.client import Client
    from dhtd.service.info import COMPLETE

    try:
        with Client(client_socket(None, None, os.environ, network), ASK_WITHIN) as client:
            return name in client.ask(COMPLETE, what="own-name", prefix=name)["words"]
    except (DhtdError, KeyError):
        return False


def try_connecting(endpoint: str) -> str | None:
    """Connect by TCP, and hang up; return why not."""
    from dhtd.core.endpoint import split_host_port

    try:
        with socket.create_connection(split_host_port(endpoint), CONNECT_WITHIN):
            return None
    except TimeoutError:
        return f"no answer within {CONNECT_WITHIN:g} s"
    except (OSError, DhtdError, ValueError) as error:
        return getattr(error, "strerror", None) or str(error)


def _argument(key: Key) -> str:
    import shlex

    return key.id if key.name is None else f"--name {shlex.quote(key.name)}"


def line(told: Told) -> str:
    """Return a step as one line: good, bad or -, the step, and the sentence."""
    from dhtd.cli.traced import printable

    return printable(f"{_MARKS[told.flag('good')]} {told.text('step')}: {told.text('message')}")


_MARKS: Final = {True: "good", False: "bad", None: "-"}
