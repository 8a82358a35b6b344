"""`dht key`: the key pairs that sign values. No daemon is needed, and none sees a secret."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from random import SystemRandom
from typing import Annotated, Final

import typer

from dhtd.cli.completion.candidates import complete_file
from dhtd.cli.output import JsonOption, Verb, session
from dhtd.cli.public_keys import format_public_key
from dhtd.cli.told import Told
from dhtd.errors import UsageError

_ACTIONS: Final = ("new", "show")


@dataclass(frozen=True, slots=True)
class Shown:
    """What is printed about a key."""

    file: str
    public_key: str
    z32: str


def key(
    context: typer.Context,
    action: Annotated[
        str,
        typer.Argument(
            metavar="ACTION",
            help="new makes a key in a new file, show prints the public key of a file.",
            autocompletion=lambda: list(_ACTIONS),
            show_default=False,
        ),
    ],
    file: Annotated[
        str,
        typer.Argument(metavar="FILE", help="The file of the key.", autocompletion=complete_file, show_default=False),
    ],
    *,
    json: JsonOption = False,
) -> None:
    """Make a key that signs values, or show its public half.

    Prints the public key in hexadecimal, and as pk: and z-base-32.
    """
    from dhtd.config import signing_key

    options = session(context, json=json)
    if action not in _ACTIONS:
        raise UsageError(f"{action!r:.80} is neither new nor show")
    if not file:
        raise UsageError("FILE is empty: name the file of the key")
    if file.rpartition("/")[2] in ("", ".", ".."):
        raise UsageError(f"{file} is the path of a directory: name the file of the key")
    path = Path(file)
    seed = signing_key.make(path, SystemRandom()) if action == "new" else signing_key.read(path, os.environ)
    from dhtd.wire.signatures import public_key

    public = public_key(seed)
    shown = Shown(file, public.hex(), format_public_key(public))
    options.show(Told(asdict(shown)), [shown.public_key, shown.z32])


def register(app: typer.Typer) -> None:
    """Add the verb."""
    examples = "dht key new blog.key\ndht key show blog.key\ndht key show blog.key --json | jq -r .z32"
    app.command(cls=Verb, epilog=examples)(key)
