"""`dhtd keygen`: a new key for a private network."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from random import SystemRandom
from typing import Annotated

import typer

from dhtd.cli.completion.candidates import complete_file
from dhtd.cli.output import JsonOption, Verb
from dhtd.cli.streams import put, put_json
from dhtd.errors import UsageError


@dataclass(frozen=True, slots=True)
class Made:
    """What is printed about a new key."""

    file: str
    fingerprint: str


def keygen(
    context: typer.Context,
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="The new file; it must not exist.", autocompletion=complete_file)
    ],
    *,
    json: JsonOption = False,
) -> None:
    """Make a new network key, in a new file that only you can read. Never overwrites."""
    from dhtd.config import key_file

    if not file:
        raise UsageError("FILE is empty: name the file to write the key into")
    if file.rpartition("/")[2] in ("", ".", ".."):
        raise UsageError(f"{file} is the path of a directory: name the file to write the key into")
    made = Made(file, key_file.make(Path(file), SystemRandom()).fingerprint)
    if json or context.obj:
        put_json(asdict(made))
    else:
        put(f"file {made.file}")
        put(f"fingerprint {made.fingerprint}")


def register(app: typer.Typer) -> None:
    """Add the verb."""
    examples = "dhtd keygen network.key\ndhtd keygen ~/.config/dhtd/network.key --json"
    app.command(cls=Verb, epilog=examples)(keygen)
