"""Fuzzes one target with atheris: `python -m tests.fuzz.guided TARGET [OPTION]...`, since this takes a whole process.

The options are libFuzzer's. All of dhtd is instrumented, so an input that reaches new code there counts as new.
"""

from __future__ import annotations

import sys
from hashlib import sha1

import atheris

from tests.fuzz.target import PLACE


def main() -> None:
    """Run until libFuzzer ends the process."""
    _, name, *options = sys.argv
    program = f"{sys.executable} -m tests.fuzz.guided {name}"  # by which libFuzzer runs itself, when it merges
    with atheris.instrument_imports(include=["dhtd"]):
        from tests.fuzz.targets import TARGETS  # noqa: PLC0415 - it is watched from here on
    target = TARGETS[name]
    by_structure = target.mutate
    findings = PLACE / name / "findings"

    def mutate(data: bytes, most: int, seed: int) -> bytes:
        if by_structure is None or seed % 2:
            return bytes(atheris.Mutate(data, most))
        return by_structure(data, seed)[:most]

    def check(data: bytes) -> None:
        try:
            target.check(data)
        except Exception:  # Python's end takes libFuzzer with it, and nobody else keeps the input
            findings.mkdir(parents=True, exist_ok=True)
            (findings / f"crash-{sha1(data, usedforsecurity=False).hexdigest()}").write_bytes(data)
            raise

    atheris.Setup([program, f"-max_len={target.largest}", *options], check, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
