"""Reads TOML that a user wrote, with errors that name the file and the place in it."""

from __future__ import annotations

from typing import Any, Final

from dhtd.errors import ConfigError

SIZE_MAX: Final = 1 << 20  # bytes of a file
# A key of more parts. The time that tomllib takes for one grows with their square: a minute for 60,000.
_PART: Final = r"""(?:(?<![\w-])[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+"""
_DEEP: Final = rf"{_PART}(?:\.[ \t]*+{_PART}){{64}}"


def parse(data: bytes, what: str) -> dict[str, Any]:
    """Return the content of a file; raise `ConfigError`. `what` names the file: "the configuration file /x"."""
    if len(data) > SIZE_MAX:
        raise ConfigError(f"{what} is longer than {SIZE_MAX} bytes")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{what} is not UTF-8 (line {line}, byte {error.start + 1})") from error
    import re  # noqa: PLC0415 - most machines have no file, and `dht` starts sooner without
    import tomllib  # noqa: PLC0415

    try:
        if re.search(_DEEP, text):
            raise RecursionError
        return tomllib.loads(text)
    except ValueError as error:  # mostly a TOMLDecodeError, but not for a number of 5000 digits
        raise ConfigError(f"{what} is not TOML: {error}") from error
    except RecursionError as error:
        raise ConfigError(f"{what} is nested too deeply") from error
