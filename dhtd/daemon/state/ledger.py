"""Writes rows into an open state file, each with its hash, and keeps the sums of the tables true.

A ledger is made for one transaction and ends with `close`, which writes the sums of the tables that have changed.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Final

from dhtd.daemon.state.rows import SUM_COLUMNS, Sum, hash_of, is_whole, sum_of
from dhtd.daemon.state.schemas import COLUMNS, SPARED, SUMMED, Row, Value, schema, summed

_INSERT: Final = {
    table: f"INSERT INTO {table} VALUES ({', '.join('?' * (len(columns) + 1))})"  # noqa: S608 - names of ours
    for table, columns in COLUMNS.items()
}


class Ledger:
    """The tables of the newest version, within a transaction of this connection."""

    __slots__ = ("connection", "sums")

    def __init__(self, connection: sqlite3.Connection, sums: Mapping[str, Sum]) -> None:
        self.connection = connection
        self.sums = dict(sums)

    def put(self, table: str, values: Sequence[Value]) -> None:
        """Insert a row that is not there."""
        hashed = hash_of(table, values)
        self.connection.execute(_INSERT[table], (*values, hashed))
        self.sums[table] = self.sums[table].with_row(hashed)

    def drop(self, table: str, columns: str = "", key: Sequence[Value] = ()) -> None:
        """Delete the rows with these values in these columns; without columns, all rows."""
        if not columns:
            self.connection.execute(f"DELETE FROM {table}")  # noqa: S608
            self.sums[table] = Sum()
            return
        where = f"FROM {table} WHERE {_equal(columns)}"
        dropped = sum_of(self.connection.execute(f"SELECT {SUM_COLUMNS} {where}", key).fetchone())
        if dropped.rows:
            self.connection.execute(f"DELETE {where}", key)
            self.sums[table] = self.sums[table].without(dropped)

    def there(self, table: str, columns: str, key: Sequence[Value]) -> list[Row]:
        """Return the sound rows with these values in these columns, without their hashes."""
        return [
            row[:-1] for row in rows(self.connection, table, f"WHERE {_equal(columns)}", key) if is_whole(table, row)
        ]

    def set(self, name: str, value: Value) -> None:
        """Set a fact."""
        tables = ("meta", "spare") if name in SPARED else ("meta",)
        for table in tables:
            self.connection.execute(f"DELETE FROM {table} WHERE name = ?", (name,))  # noqa: S608
            self.connection.execute(_INSERT[table], (name, value, hash_of(table, (name, value))))

    def close(self, before: Mapping[str, Sum]) -> None:
        """Write the sums that differ from those `before`."""
        for table in SUMMED:
            if self.sums[table] != before.get(table):
                self.set(f"sum {table}", str(self.sums[table]))


def make_tables(connection: sqlite3.Connection, version: int) -> None:
    """Make the tables of this version."""
    for statement in schema(version):
        connection.execute(statement)


def true_sums(connection: sqlite3.Connection, version: int) -> dict[str, Sum]:
    """Return the sums of the rows that are there, in tables of this version."""
    return {
        table: sum_of(connection.execute(f"SELECT {SUM_COLUMNS} FROM {table}").fetchone())  # noqa: S608
        for table in summed(version)
    }


def said_sums(facts: Mapping[str, Value]) -> dict[str, Sum]:
    """Return the sums that `meta` has."""
    said = {}
    for table in SUMMED:
        with suppress(ValueError):
            said[table] = Sum.parse(facts.get(f"sum {table}"))
    return said


def facts(connection: sqlite3.Connection, tables: Iterable[str] = ("spare", "meta")) -> dict[str, Value]:
    """Return the facts by name: what the file has once, in rows that are whole."""
    found: dict[str, Value] = {}
    for table in tables:
        for row in connection.execute(f"SELECT name, value, hash FROM {table}"):  # noqa: S608
            if is_whole(table, row):
                found[str(row[0])] = row[1]
    return found


def rows(
    connection: sqlite3.Connection, table: str, rest: str = "", key: Sequence[Value] = ()
) -> Iterator[tuple[Value, ...]]:
    """Yield the rows of a table, each with its hash last."""
    columns = ", ".join((*COLUMNS[table], "hash"))
    yield from connection.execute(f"SELECT {columns} FROM {table} {rest}", key)  # noqa: S608


def _equal(columns: str) -> str:
    return " AND ".join(f"{column} = ?" for column in columns.split())
