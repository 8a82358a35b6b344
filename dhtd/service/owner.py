"""The methods of the daemon's owner: backup, token and stop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final, TypedDict

from dhtd.errors import Busy, ConfigError, KeyUnusable, StateError
from dhtd.service.method import Callers, Method, Request, Stream
from dhtd.service.params import FLAG


@dataclass(frozen=True, slots=True)
class BackupRequest(Request):
    """Send a copy of the state file, in events."""


class BackupEvent(TypedDict):
    """The next piece of a copy of the state file, in base64."""

    data: str


class BackupResult(TypedDict):
    """The length of the copy."""

    bytes: int


BACKUP: Final = Stream(
    "backup",
    "Saves the state, and sends a complete copy of the state file at one moment.",
    BackupRequest,
    BackupEvent,
    BackupResult,
    errors=(Busy, StateError),
    callers=Callers.OWNER,
    runs_long=True,
)


@dataclass(frozen=True, slots=True)
class StopRequest(Request):
    """Save the state and end. The server of the control socket does this itself."""


class StopResult(TypedDict):
    """The state is saved, and this process ends; null if it was stopping already."""

    pid: int | None


STOP: Final = Method(
    "stop",
    "Saves the state, and ends the daemon.",
    StopRequest,
    StopResult,
    errors=(StateError,),
    callers=Callers.OWNER,
)


@dataclass(frozen=True, slots=True)
class TokenRequest(Request):
    """Tell the token that clients of the HTTP door send. With `renew`, make a new one; the old one counts no longer."""

    renew: Annotated[bool, FLAG] = False


class TokenResult(TypedDict):
    """The token, and the file that holds it."""

    token: str
    file: str


TOKEN: Final = Method(
    "token",
    "Tells the token of the HTTP door, or makes a new one.",
    TokenRequest,
    TokenResult,
    errors=(ConfigError, KeyUnusable),
    callers=Callers.OWNER,
)

METHODS: Final = (BACKUP, STOP, TOKEN)
