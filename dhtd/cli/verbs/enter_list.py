"""`dht enter --file LIST`: many entries at once, one a line."""

from __future__ import annotations

import sys

from dhtd.cli.arguments import ADVICE, parse_port
from dhtd.cli.output import Failure, Session
from dhtd.cli.streams import put, put_json
from dhtd.cli.told import Told, holders_of, word
from dhtd.errors import DhtdError, TooFewReplicas, UsageError
from dhtd.words import count

LIST_MAX = 1 << 26  # bytes
STDIN = 0


def enter_list(options: Session, path: str, *, wait: bool, wanted: int) -> None:
    """Enter what a file lists, nothing if a line is bad; print each entry."""
    entries = _read(options, path)
    total = few = unheld = 0
    with options.client() as client:
        try:
            for answer in client.enter_many(entries, wait=wait, min_replicas=wanted):
                told = Told(answer)
                holders = holders_of(told) or 0
                total += 1
                few += holders < wanted
                unheld += not holders
                _print(options, told, holders)
        except DhtdError as error:
            if total:
                entered = f"{total:,} of {count(len(entries), 'entry')} are entered, the others are not"
                raise type(error)(f"{error}; {entered}") from None
            raise
    if wait and few:
        message = f"{few:,} of {count(total, 'entry')} are on fewer nodes than {wanted}. They are kept all the same"
        raise TooFewReplicas(f"{message}, and published again")
    options.note(_summary(total, unheld, wait=wait))


def _read(options: Session, path: str) -> list[dict[str, object]]:
    """Return the entries of a list; tell all bad lines, and raise `UsageError` if there is one."""
    entries, bad = [], []
    for number, line in enumerate(_lines(path), start=1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        try:
            entries.append(_entry(options, words))
        except UsageError as error:
            why, advice, _ = str(error).partition(ADVICE)
            bad.append((number, f"{why}: enter such a name by itself, with --name" if advice else why))
    shown = "the standard input" if path == "-" else path
    if bad:
        for number, why in bad:
            options.note(f"{shown}:{number}: {why}")
        failure = UsageError(f"nothing is entered: {count(len(bad), 'line')} of {shown} cannot be used")
        raise Failure(failure, {"lines": [{"line": number, "message": why} for number, why in bad]})
    if not entries:
        raise UsageError(f"nothing is entered: {shown} has no line of NAME PORT or ID PORT")
    return entries


def _entry(options: Session, words: list[str]) -> dict[str, object]:
    """Return the entry of a line; a comment may follow."""
    if len(words) < 2 or not (len(words) == 2 or words[2].startswith("#")):
        raise UsageError(f"a line is NAME PORT or ID PORT, and this one has {count(len(words), 'word')}")
    key, port = options.key(words[0], name=False), parse_port(words[1])
    return {"id": key.id, "port": port, **({} if key.name is None else {"name": key.name})}


def _lines(path: str) -> list[str]:
    """Return the lines of a file, which is read whole: a list may come from a pipe."""
    if not path:
        raise UsageError("--file is empty: give the path of a list, or - for stdin")
    try:
        with open(STDIN if path == "-" else path, "rb", closefd=path != "-") as file:
            data = file.read(LIST_MAX + 1)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    if len(data) > LIST_MAX:
        raise UsageError(f"{path} is longer than {LIST_MAX} bytes")
    return data.decode(sys.getfilesystemencoding(), "surrogateescape").split("\n")


def _print(options: Session, told: Told, holders: int) -> None:
    if options.json:
        put_json(told.body)
    else:
        put(f"{told.text('id')} {told.text('port')} {holders} {word(told.body.get('name'))}")


def _summary(total: int, unheld: int, *, wait: bool) -> str:
    if not wait:
        return f"entered {count(total, 'entry')}, and kept on disk; dht info tracking tells who holds them"
    if not unheld:
        return f"entered {count(total, 'entry')}"
    return f"entered {count(total, 'entry')}; no other node holds {unheld:,} of them yet: see dht bootstrap"
