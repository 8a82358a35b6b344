"""Fuzzes one target with atheris: `python -m tests.fuzz.guided TARGET [OPTION]...`, for this takes a whole process.

The options are libFuzzer's. All of dhtd is instrumented, so that an input counts as new which reaches new code there.
"""

from __future__ import annotations

import sys

import atheris


def main() -> None:
    """Run until libFuzzer ends the process."""
    program, name, *options = sys.argv
    with atheris.instrument_imports(include=["dhtd"]):
        from tests.fuzz.targets import TARGETS  # noqa: PLC0415 - it is watched from here on
    target = TARGETS[name]
    by_structure = target.mutate

    def mutate(data: bytes, most: int, seed: int) -> bytes:
        if by_structure is None or seed % 2:
            return bytes(atheris.Mutate(data, most))
        return by_structure(data, seed)[:most]

    atheris.Setup([program, f"-max_len={target.largest}", *options], target.check, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
