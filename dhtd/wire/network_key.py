"""The key of a private network, and the line of text that it is written as. dht-protocol(7) specifies both."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Final

from dhtd.errors import UsageError

KEY_SIZE: Final = 32  # bytes
FORM: Final = "dhtd-network-key-1"  # what a line begins with; the number is that of the form

_LINE: Final = re.compile(rf"{FORM} ([0-9a-fA-F]{{{2 * KEY_SIZE}}})")
_OTHER_FORM: Final = re.compile(r"dhtd-network-key-(?!1(?: |$))[0-9]+(?: |$)")


@dataclass(frozen=True, slots=True)
class NetworkKey:
    """A key that the nodes of a network share. Its representation does not give it away."""

    secret: bytes = field(repr=False)  # KEY_SIZE bytes

    @property
    def fingerprint(self) -> str:
        """Eight hexadecimal digits by which people tell keys apart; they say nothing of the key."""
        return blake2b(self.secret, digest_size=4, person=b"dhtd-network-key").hexdigest()

    def to_text(self) -> str:
        """Return the line, without its end."""
        return f"{FORM} {self.secret.hex()}"

    @classmethod
    def parse(cls, text: str) -> NetworkKey:
        """Return the key that a text of one line is; raise `UsageError`, which does not repeat the text."""
        line = text.strip()
        found = _LINE.fullmatch(line)
        if found is not None:
            return cls(bytes.fromhex(found[1]))
        if _OTHER_FORM.match(line):
            raise UsageError(f"is a network key of another version than {FORM}")
        raise UsageError(
            f"is not a network key as `dhtd keygen` writes it: one line of {FORM} and {2 * KEY_SIZE} hexadecimal digits"
        )
