"""The guards of `dht enter`: a process, a check, or a command that is run meanwhile."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NoReturn

import typer

from dhtd.cli.output import Session
from dhtd.cli.told import Told
from dhtd.config.networks import MAINLINE, network_of
from dhtd.errors import UsageError

if TYPE_CHECKING:
    from dhtd.control.client import Client
    from dhtd.service.entries import EnterResult


def guard_of(
    command: list[str] | None, pid: int | None, check: str | None, every: float | None
) -> Mapping[str, str | float]:
    """Return the guard as parameters of the method `enter`, none without one; raise a `UsageError`."""
    from dhtd.service.checks import EVERY, parse_check
    from dhtd.service.params import Misfit, check_every, check_pid

    given = [name for name, value in (("--pid", pid), ("--check", check), ("-- COMMAND", command)) if value is not None]
    if len(given) > 1:
        raise UsageError(f"an entry has one guard, and {' and '.join(given)} are {len(given)}: give one")
    if every is not None and check is None:
        raise UsageError("--every is for --check, and there is none")
    if pid is not None:
        return {"pid": check_pid(pid)}
    if check is not None:
        parse_check(check)
        try:
            return {"check": check, "every": check_every(EVERY if every is None else every)}
        except Misfit as misfit:
            raise UsageError(f"--every {misfit}") from None
    return {} if command is None else {"attached": True}


def run(
    options: Session,
    command: list[str],
    port: int,
    enter: Callable[[Client], EnterResult],
    describe: Callable[[Told], str],
) -> NoReturn:
    """Run a command, and have an entry meanwhile; exit with the status of the command."""
    from dhtd.cli.child import Child
    from dhtd.cli.holding import Holding
    from dhtd.service.node import NODE_ID

    def tell(result: EnterResult) -> None:
        told = Told(result)
        if options.json:
            options.show(told, [])
            sys.stdout.flush()
        is_withdrawn = network_of(told.text("id")) is not MAINLINE
        until = "withdrawn when the command ends" if is_withdrawn else "not announced again once the command ends"
        options.note(f"{describe(told)}; {until}")

    with options.client() as client:
        client.ask(NODE_ID)  # without a daemon, the command does not begin
    child = Child(command)
    holding = Holding(port, options.client, enter, tell, options.note)
    holding.begin()
    try:
        status = child.wait()
    finally:
        holding.end()
    raise typer.Exit(status)
