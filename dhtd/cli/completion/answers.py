"""Answers TAB: `_DHT_COMPLETE=complete_bash dht WORD…` prints what may stand where the last WORD is, one a line.

A line is a candidate, or a candidate, a tab and its description. A line that begins with a tab is an order to the
shell instead: `<tab>files<tab>PREFIX` has it offer files behind PREFIX (such as `--socket=`, or nothing). The scripts
of `completion_scripts` are the other side. typer's own classes are not used: they import rich for every
description, take the line as one text that they split once more, and cannot ask for files.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import typer.main
from typer._click.shell_completion import CompletionItem, ShellComplete, split_arg_string

from dhtd.cli.completion.candidates import FILES


class _Completer(ShellComplete):
    """Takes the words from the command line, the last one being the incomplete one."""

    def source_vars(self) -> dict[str, Any]:
        return {}

    def get_completion_args(self) -> tuple[list[str], str]:
        *before, incomplete = sys.argv[1:] or [""]
        if self.complete_var in os.environ and os.environ[self.complete_var].endswith("_bash"):
            # bash hands over words as they were typed, quotes and all
            before = ["".join(split_arg_string(word)) for word in before]
            incomplete = "".join(split_arg_string(incomplete))
        return before, incomplete

    def format_completion(self, item: CompletionItem) -> str:
        prefix = ""
        word = self.get_completion_args()[1]
        if word.startswith("--") and "=" in word:
            prefix = word.partition("=")[0] + "="
        if item.help == FILES:
            return f"\tfiles\t{prefix}"
        description = " ".join((item.help or "").split())
        return f"{prefix}{item.value}" + (f"\t{description}" if description else "")


def answer(app: typer.Typer, program: str, variable: str) -> None:
    """Print the candidates for the words in `sys.argv`; nothing at all where something is wrong."""
    try:
        text = _Completer(typer.main.get_command(app), {}, program, variable).complete()
    except Exception:  # noqa: BLE001 - in the middle of a line that is being typed, any message is a disturbance
        return
    if text:
        sys.stdout.write(f"{text}\n")
