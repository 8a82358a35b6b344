"""All targets by name. Importing this imports the code under test, so `guided` does it under instrumentation."""

from __future__ import annotations

from typing import Final

from tests.fuzz import control, datagram, dns, mainline, mainline_node, node, pkarr, sealed, state
from tests.fuzz.target import Target

TARGETS: Final[dict[str, Target]] = {
    target.name: target
    for target in (
        datagram.TARGET,
        mainline.TARGET,
        sealed.TARGET,
        node.TARGET,
        mainline_node.TARGET,
        control.TARGET,
        state.TARGET,
        pkarr.TARGET,
        dns.TARGET,
    )
}
