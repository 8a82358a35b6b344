"""State files of earlier versions, without hashes."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from dhtd.core.ids import NATIVE, Keyspace
from dhtd.daemon.state.disk import APPLICATION_ID
from dhtd.daemon.state.rows import SavedState, Writer, schema


def write_old(path: Path, version: int, state: SavedState, keyspace: Keyspace = NATIVE) -> None:
    """Write a file of version 1 or 2 with this content; version 1 has no holders."""
    writer = Writer(keyspace)
    path.parent.mkdir(exist_ok=True)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        execute = connection.execute
        execute(f"PRAGMA application_id = {APPLICATION_ID}")
        execute(f"PRAGMA user_version = {version}")
        for statement in schema(version):
            execute(statement)
        execute("BEGIN")
        execute("INSERT INTO meta VALUES ('bits', ?)", (keyspace.bits,))
        if state.node_id is not None:
            execute("INSERT INTO meta VALUES ('node_id', ?)", (writer.id(state.node_id),))
        for position, contact in enumerate(state.contacts):
            execute("INSERT INTO contact VALUES (?, ?, ?)", writer.contact(position, contact))
        for own in state.own:
            execute("INSERT INTO own VALUES (?, ?)", writer.own(own))
        for entry in state.held:
            execute("INSERT INTO held VALUES (?, ?, ?)", writer.held(entry))
        for own, holders in state.holders.items() if version > 1 else ():
            for holder in holders:
                execute("INSERT INTO holder VALUES (?, ?, ?, ?, ?)", writer.holder(own, holder)[:5])
        execute("COMMIT")
