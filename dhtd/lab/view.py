"""Serves a stage on one address of loopback until it is told to end."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable
from typing import Final

import trio

from dhtd.config.addresses import http_addresses, is_local
from dhtd.control.bound_socket import bind
from dhtd.errors import UsageError
from dhtd.http.app import App
from dhtd.http.connections import Places, cut_at_end, serve
from dhtd.http.guard import TokenlessGuard
from dhtd.lab.site import Site
from dhtd.lab.stage import Stage
from dhtd.sim.plan import Plan
from dhtd.sim.simulation import Simulation

ADDRESS: Final = "127.0.0.1:8750"
OPTION: Final = "--view"
CONNECTIONS_MAX: Final = 64  # of some tabs; a client that does not read holds an answer of a megabyte for each

Say = Callable[[str], None]


def check_address(text: str) -> str:
    """Return an address of loopback in its one spelling; raise `UsageError`."""
    (address,) = http_addresses([text])
    if address.startswith("unix:"):
        raise UsageError(f"{OPTION} {text}: a browser asks for an IP address and a port, such as {ADDRESS}")
    if not is_local(address):
        raise UsageError(
            f"{OPTION} {text}: the page has no token, and kills nodes for all that reach it, so it is served on "
            f"addresses of loopback alone, such as {ADDRESS}"
        )
    return address


def look_at(plan: Plan, command: str, address: str, announce: Say, note: Say) -> Simulation:
    """Run a plan behind the page until SIGINT or SIGTERM; return the simulation as it then is.

    `announce` is told the URL once it is served. `note` is told of defects while their exceptions are handled. Raises
    `PortTaken` or `AddressUnavailable`.
    """
    with bind(address, OPTION) as listening:
        stage: Stage = trio.run(_look_at, plan, command, listening, announce, note)
    return stage.simulation


async def _look_at(plan: Plan, command: str, listening: socket.socket, announce: Say, note: Say) -> Stage:
    stage = Stage(plan, command)
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        announce(f"http://{_written(listening)}/")  # a connection waits until it is served
        async with trio.open_nursery() as nursery:
            nursery.start_soon(show, stage, listening, note)
            async for _ in signals:
                nursery.cancel_scope.cancel()
                break
    return stage


async def show(stage: Stage, listening: socket.socket, note: Say) -> None:
    """Run a stage, and serve it on a socket that listens, until cancelled."""
    places = Places(CONNECTIONS_MAX)
    app = App(Site(stage), TokenlessGuard(), note, "the simulation's terminal")
    listener = trio.SocketListener(trio.socket.from_stdlib_socket(listening))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(cut_at_end, places)
        nursery.start_soon(stage.run)
        nursery.start_soon(serve, listener, app, places, note)


def _written(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
