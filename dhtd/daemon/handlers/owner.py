"""Serves the owner's methods backup and token. The server of the control socket serves `stop` itself."""

from __future__ import annotations

from base64 import b64encode
from typing import Final

from dhtd.config.access_token import AccessToken
from dhtd.daemon.driver import Driver
from dhtd.daemon.handlers.calls import Call, Handlers, answer, stream
from dhtd.daemon.state.saver import Saver
from dhtd.errors import Busy, ConfigError
from dhtd.service.method import Emit
from dhtd.service.owner import (
    BACKUP,
    TOKEN,
    BackupEvent,
    BackupRequest,
    BackupResult,
    TokenRequest,
    TokenResult,
)

PIECE: Final = 49_152  # bytes of a backup in one event, which has 65,536 of base64


class ForOwner(Handlers):
    """Takes one backup at a time, since each takes room on disk."""

    def __init__(self, driver: Driver, saver: Saver, token: AccessToken | None) -> None:
        super().__init__(driver)
        self._saver = saver
        self._token = token
        self._is_backing_up = False

    def calls(self) -> tuple[Call, ...]:
        return (stream(BACKUP, self._backup), answer(TOKEN, self._tell_token))

    async def _backup(self, request: BackupRequest, emit: Emit[BackupEvent]) -> BackupResult:
        """Emit each piece of the copy when the client has read the one before."""
        if self._is_backing_up:
            raise Busy("another backup is being taken: try again when it is done")
        self._is_backing_up = True
        try:
            size = 0
            with await self._saver.copy(self._node) as copy:
                while piece := await self._saver.read(copy, PIECE):
                    await emit({"data": b64encode(piece).decode()})
                    size += len(piece)
            return {"bytes": size}
        finally:
            self._is_backing_up = False

    async def _tell_token(self, request: TokenRequest) -> TokenResult:
        if self._token is None:
            raise ConfigError(
                "this daemon has no token, since it serves no HTTP at an ADDR:PORT: see --http in dhtd(8)"
            )
        if request.renew:
            self._token.renew()
        return {"token": self._token.text, "file": str(self._token.path)}
