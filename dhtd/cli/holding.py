"""Keeps an entry with the daemon while a command runs, in a thread: the main thread waits for signals.

1. Wait until the port listens.
2. Enter, and keep the connection: the daemon withdraws the entry when it ends, even if we are killed.
3. If the daemon goes away, for example to be renewed, go back to the first step.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Final

from dhtd.daemon.guards.listening import is_listening
from dhtd.errors import DhtdError

if TYPE_CHECKING:
    from dhtd.control.client import Client
    from dhtd.service.entries import EnterResult

LOOK_FIRST: Final = 0.02  # seconds between looks at the port, which double up to LOOK_MAX
LOOK_MAX: Final = 0.25
PATIENCE: Final = 30.0  # seconds until it is said that the port does not listen
RETRY: Final = 1.0  # seconds until the daemon is tried again
LEAVE_WITHIN: Final = 5.0  # seconds for the withdrawal, which the daemon makes in any case


class Holding:
    """One entry. `enter` asks the daemon, `tell` hears of the first success, and `say` of trouble."""

    def __init__(
        self,
        port: int,
        connect: Callable[[], Client],
        enter: Callable[[Client], EnterResult],
        tell: Callable[[EnterResult], None],
        say: Callable[[str], None],
    ) -> None:
        self._port = port
        self._connect = connect
        self._enter = enter
        self._tell = tell
        self._say = say
        self._client: Client | None = None
        self._is_over = threading.Event()
        self._changing = threading.Lock()  # of the client
        self._thread = threading.Thread(target=self._run, name="entry", daemon=True)

    def begin(self) -> None:
        self._thread.start()

    def end(self) -> None:
        """Withdraw the entry; return when that is done, or has taken too long."""
        with self._changing:
            self._is_over.set()
            if self._client is not None:
                self._client.leave()
        self._thread.join(LEAVE_WITHIN)

    def _run(self) -> None:
        complaint, is_told = "", False
        while self._await_port():
            try:
                with self._connect() as client:
                    if not self._take(client):
                        return
                    result = self._enter(client)
                    complaint = ""
                    if not is_told:
                        self._tell(result)
                        is_told = True
                    client.stay()
            except DhtdError as error:
                if str(error) != complaint and not self._is_over.is_set():
                    complaint = str(error)
                    self._say(f"not entered: {complaint}; trying again while the command runs")
            else:
                if not self._is_over.is_set():
                    self._say("the daemon has gone away; entering again as soon as it is back")
            if self._is_over.wait(RETRY):
                return

    def _take(self, client: Client) -> bool:
        """Have `end` know the client; return whether there is still something to do."""
        with self._changing:
            self._client = client
            return not self._is_over.is_set()

    def _await_port(self) -> bool:
        """Wait until the port listens; return False when the command has ended."""
        pause, waited = LOOK_FIRST, 0.0
        while not _listens(self._port):
            if self._is_over.wait(pause):
                return False
            if waited < PATIENCE <= waited + pause:
                self._say(f"nothing listens on port {self._port} yet: not entered")
            waited += pause
            pause = min(2 * pause, LOOK_MAX)
        return not self._is_over.is_set()


def _listens(port: int) -> bool:
    told = is_listening(port)
    return _accepts(port) if told is None else told


def _accepts(port: int) -> bool:
    """Whether the port takes a connection on loopback: for systems that list no sockets."""
    for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        with suppress(OSError), closing(socket.socket(family, socket.SOCK_STREAM)) as probe:
            probe.settimeout(LOOK_MAX)
            probe.connect((host, port))
            return True
    return False
