"""Names: what people call an ID. A name stays on this machine, and the network sees the ID that it stands for."""

from __future__ import annotations

import unicodedata
from typing import Final

from dhtd.core.ids import Id, Keyspace
from dhtd.errors import InvalidId

NAME_MAX: Final = 255  # characters

# Characters that would break a line or a terminal: controls, halves of a pair, line and paragraph separators.
_REFUSED: Final = frozenset({"Cc", "Cs", "Zl", "Zp"})


def clean_name(text: str) -> str:
    """Return a name in its one form, NFC (Unicode Standard Annex 15): é is é, however it is typed.

    Raises `InvalidId` for a text that cannot be a name.
    """
    name = normal_form(text)
    if not name.strip():
        raise InvalidId("the name is empty: a name says what is served, such as wiki.example.org")
    if len(name) > NAME_MAX:
        raise InvalidId(f"the name {_shown(name)} has {len(name)} characters, and a name has {NAME_MAX} at most")
    refused = next((character for character in name if unicodedata.category(character) in _REFUSED), None)
    if refused is not None:
        what = "is not UTF-8" if "\ud800" <= refused <= "\udfff" else f"has the control character {refused!a}"
        raise InvalidId(f"the name {_shown(name)} {what}")
    return name


def normal_form(text: str) -> str:
    """Return a text in NFC."""
    return unicodedata.normalize("NFC", text)


def id_of_name(name: str, keyspace: Keyspace) -> Id:
    """Return the ID that a clean name stands for."""
    return keyspace.digest(name.encode())


def _shown(name: str) -> str:
    return ascii(name if len(name) <= 80 else name[:77] + "...")
