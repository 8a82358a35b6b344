"""Public keys as people write them."""

from __future__ import annotations

import pytest

from dhtd.cli.public_keys import format_public_key, is_z_base_32, parse_public_key
from dhtd.errors import InvalidPublicKey

KEY = bytes(range(32))
Z32 = "yyyoryarywdyqnyjbefoadeqbhebnrounoktcfaadrpbs8y7daxo"


def test_the_alphabet_is_that_of_z_base_32() -> None:
    """These are the examples of its specification that are whole bytes."""
    assert format_public_key(bytes.fromhex("f0bfc7")) == "pk:6n9hq"
    assert format_public_key(bytes.fromhex("d47a04")) == "pk:4t7ye"


def test_a_public_key_reads_back_in_both_forms() -> None:
    assert format_public_key(KEY) == f"pk:{Z32}"
    for text in (f"pk:{Z32}", Z32, f"pk:{KEY.hex()}", f"pk:{KEY.hex().upper()}"):
        assert parse_public_key(text) == KEY
    for key in (bytes(32), b"\xff" * 32):
        assert parse_public_key(format_public_key(key)) == key
    assert is_z_base_32(Z32)
    assert not is_z_base_32(Z32[1:])
    assert not is_z_base_32(Z32[1:] + "l")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "pk:",
        f"pk:{Z32[1:]}",
        f"pk:{Z32}y",
        f"pk:{Z32[:-1]}l",  # no character of z-base-32
        f"pk:{Z32[:-1]}9",  # it has more bits than a key
        f"pk:{Z32.upper()}",
        f"pk:{KEY.hex()[1:]}",
        f"pk:{KEY.hex()[1:]}g",
        "pk:" + "\u00e9" * 52,
        "pk:" + "\udcff" * 52,
    ],
)
def test_what_is_no_public_key_is_refused(text: str) -> None:
    with pytest.raises(InvalidPublicKey, match=r"is not a public key: pk: and 52 characters of z-base-32, or 64 hex"):
        parse_public_key(text)
