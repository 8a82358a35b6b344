"""This daemon in the Mainline network, asked just as libtorrent is.

It runs without its limits, as libtorrent does: few addresses ask for more than strangers are given.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from random import Random

from dhtd.core import policy
from tests.bench.peers.libtorrent import Libtorrent
from tests.bench.peers.peer import PORT

_MUCH = 1e9  # bytes a second


class DhtdMainline(Libtorrent):
    """It speaks BEP 5 as well."""

    name = "dhtd mainline"
    module = "dhtd"

    def __init__(self, address: str, rng: Random) -> None:
        super().__init__(address, rng)
        self._directory = tempfile.TemporaryDirectory(prefix="dhtd-bench-")

    def command(self) -> list[str]:
        where = Path(self._directory.name)
        return [
            *(sys.executable, "-m", __name__),
            "start",
            "--network=mainline",
            f"--bind={self.address}",
            f"--port={PORT}",
            f"--state={where / 'state.db'}",
            f"--socket={where / 'dhtd.sock'}",
            "--log-level=error",
            "--rate-limit=0",
            "--rate-limit-total=0",
        ]

    def stop(self) -> None:
        """End it, and remove its files."""
        super().stop()
        self._directory.cleanup()


def main() -> None:
    """Run `dhtd`, with bytes to spare."""
    from dhtd.cli.entry import dhtd  # it reads the policy once it starts

    policy.MAINLINE = replace(policy.MAINLINE, spare_bytes=_MUCH, spare_bytes_per_source=_MUCH)
    dhtd()


if __name__ == "__main__":
    main()
