"""The token of the HTTP door, in a file of its owner alone. It is made when it is first needed."""

from __future__ import annotations

import hmac
import os
import secrets
from pathlib import Path
from typing import Final

from dhtd.config.addresses import UNIX
from dhtd.config.private_file import read_private, write_new
from dhtd.config.settings import Settings
from dhtd.errors import KeyUnusable

SIZE: Final = 32  # bytes of entropy


class AccessToken:
    """The token in a file; raises `KeyUnusable` if it cannot be read or made."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if not os.path.lexists(path):
            _make(path)
        self.text = _read(path)

    def matches(self, text: str) -> bool:
        """Whether a text is the token. The time that this takes does not tell how much of it is right."""
        return hmac.compare_digest(text.encode("utf-8", "surrogateescape"), self.text.encode())

    def renew(self) -> None:
        """Replace the token; the old one counts no longer. Raises `KeyUnusable`, and then the old one stays."""
        new = self.path.with_name(f"{self.path.name}.new")
        new.unlink(missing_ok=True)
        text = secrets.token_urlsafe(SIZE)
        write_new(new, text)
        try:
            new.replace(self.path)
        except OSError as error:
            raise KeyUnusable(f"cannot replace {self.path}: {error.strerror}") from None
        self.text = text


def token_of(settings: Settings) -> AccessToken | None:
    """Return the token of a daemon; None if no address of it asks for one."""
    if all(text.startswith(UNIX) for text in settings.http):
        return None
    return AccessToken(settings.http_token or settings.state.with_name(f"{settings.state.name}.token"))


def _make(path: Path) -> None:
    """Make the file whole, or not at all. Another daemon may make it at the same moment: then that one stays."""
    new = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    write_new(new, secrets.token_urlsafe(SIZE))
    try:
        os.link(new, path)
    except FileExistsError:
        pass
    except OSError as error:
        raise KeyUnusable(f"cannot make {path}: {error.strerror}") from None
    finally:
        new.unlink()


def _read(path: Path) -> str:
    text = read_private(path, "token", "it is made when the daemon starts with --http", os.environ).strip()
    if len(text) < SIZE or not text.isascii() or any(character.isspace() for character in text):
        raise KeyUnusable(f"{path} holds no token: remove it, and a new one is made")
    return text
