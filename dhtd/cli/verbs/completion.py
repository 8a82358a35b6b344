"""`dht completion` and `dhtd completion`: the completion script of a shell, wherever the installer put its file."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated

import typer

from dhtd.cli.completion.scripts import SHELLS, script
from dhtd.cli.output import JsonOption, Session, Verb
from dhtd.cli.streams import put, put_json
from dhtd.errors import UsageError


@dataclass(frozen=True, slots=True)
class Script:
    """What is printed as JSON."""

    shell: str
    script: str


def register(app: typer.Typer, program: str) -> None:
    """Add the verb."""

    def completion(
        context: typer.Context,
        shell: Annotated[
            str,
            typer.Argument(metavar="SHELL", help="bash, zsh or fish.", autocompletion=lambda: list(SHELLS)),
        ],
        *,
        json: JsonOption = False,
    ) -> None:
        """Print the completion script of a shell for this program."""
        if shell not in SHELLS:
            raise UsageError(f"{shell!r} is none of {', '.join(SHELLS)}")
        text = script(program, shell)
        above = context.find_root().obj
        if json or (above.json if isinstance(above, Session) else above):
            put_json(asdict(Script(shell, text)))
        else:
            put(text.rstrip("\n"))

    examples = (
        f"source <({program} completion bash)\n{program} completion fish > ~/.config/fish/completions/{program}.fish"
    )
    app.command(cls=Verb, epilog=examples)(completion)
