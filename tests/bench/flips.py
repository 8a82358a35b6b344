"""The cost of one flipped bit in the state file: a file for each of many bits, opened by a node's own loader.

usage: python3 dev.py bench flips [--flips N] [--seed N] [--version 2]
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from contextlib import closing
from pathlib import Path
from random import Random

from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import NATIVE
from dhtd.core.messages import Contact
from dhtd.core.records import Peer, RecordKey
from dhtd.daemon.state.file import AddOwn, SavedHolder, SavedRecord, SavedState, SetHolders, StateFile
from dhtd.errors import StateError
from tests.records import KEPT

OWN, HOLDERS, HELD, CONTACTS = 20, 8, 50, 40


def main() -> None:
    """Flip bits, and print the fate of the files."""
    parser = argparse.ArgumentParser(prog="dev.py bench flips")
    parser.add_argument("--flips", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    rng = Random(options.seed)
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "state.db"
        _fill(path, rng)
        content = path.read_bytes()
        with closing(StateFile.open(path)) as file:
            good = file.load()
        counted: Counter[str] = Counter()
        for number in range(options.flips):
            bit = rng.randrange(8 * len(content))
            damaged = bytearray(content)
            damaged[bit // 8] ^= 1 << bit % 8
            directory = Path(place) / str(number)
            directory.mkdir()
            (directory / "state.db").write_bytes(damaged)
            counted.update(_outcome(directory / "state.db", good))
            for left in directory.iterdir():
                left.unlink()
    print(f"{options.flips} files of {len(content)} bytes, one bit flipped in each, seed {options.seed}")
    for name in ("refused", "said", "new ID", "own entries lost", "own entries changed silently", "changed silently"):
        print(f"{name:30}{counted[name]:6}")


def _outcome(path: Path, good: SavedState) -> list[str]:
    try:
        file = StateFile.open(path)
    except StateError:
        return ["refused"]
    with closing(file):
        state = file.load()
        is_said = file.notice is not None
    found = []
    if is_said:
        found.append("said")
    if state.node_id != good.node_id:
        found.append("new ID")
    if set(state.own) != set(good.own):
        found.append("own entries lost")
        if not is_said:
            found.append("own entries changed silently")
    if not is_said and _plain(state) != _plain(good):
        found.append("changed silently")
    return found


def _plain(state: SavedState) -> tuple[object, ...]:
    holders = {own: set(holders) for own, holders in state.holders.items()}
    return state.node_id, state.contacts, set(state.own), set(state.held), holders


def _fill(path: Path, rng: Random) -> None:
    """Write the file of a node with a history."""

    def contact() -> Contact:
        return Contact(NATIVE.random(rng), Endpoint.of(f"192.0.2.{rng.randrange(256)}", rng.randrange(1, 65_536)))

    own = [RecordKey.of(NATIVE.random(rng), Peer.on(rng.randrange(1, 65_536))) for _ in range(OWN)]
    held = [SavedRecord(NATIVE.random(rng), Peer(contact().endpoint), 3_600, KEPT) for _ in range(HELD)]
    with closing(StateFile.open(path)) as file:
        file.set_node_id(NATIVE.random(rng))
        file.apply([AddOwn(entry) for entry in own])
        file.save_holders(
            [
                SetHolders(
                    entry,
                    [SavedHolder(contact(), 2e9 + rng.random(), ((rng.randbytes(4), 2e9),)) for _ in range(HOLDERS)],
                )
                for entry in own
            ]
        )
        file.save_contacts([contact() for _ in range(CONTACTS)])
        file.save_held([(entry.key, [entry]) for entry in held])


if __name__ == "__main__":
    main()
