"""`dhtd simulate --view`: the run behind the page, until Ctrl-C, and then its figures."""

from __future__ import annotations

import sys
import traceback
from time import perf_counter
from typing import TYPE_CHECKING

from dhtd.cli.simulate.run import as_result, less_collecting, show
from dhtd.cli.streams import put, say
from dhtd.errors import ExtraMissing

if TYPE_CHECKING:
    from dhtd.sim.plan import Plan


def look_at(plan: Plan, heading: str, command: str, address: str) -> None:
    """Run a plan behind the page at an address; raise a `DhtdError` if it cannot be served there."""
    try:
        from dhtd.lab import view
    except ModuleNotFoundError as error:
        raise ExtraMissing(f"--view needs the module {error.name}: pip install 'dhtd[web]'") from None
    where = view.check_address(address)
    begun = perf_counter()
    with less_collecting():
        simulation = view.look_at(plan, command, where, _announce, _note)
        show(as_result(simulation.report(), perf_counter() - begun), plan, heading)


def _announce(url: str) -> None:
    put(f"see {url} (Ctrl-C ends it)")
    sys.stdout.flush()


def _note(what: str) -> None:
    """Tell of a defect, with its traceback."""
    say(f"dhtd: {what}\n{traceback.format_exc()}")
