"""The guard of a listening address: it looks at token, Host and Origin before anything is done for a request.

- **Token**: all but the open paths need it, since every user of this machine can connect to a port of it. A Unix socket
  needs none: its file has an owner.
- **Host**: a page of another site can have its own name lead to this address (DNS rebinding), and is then of the same
  origin in the eyes of the browser. Its requests have that name as their Host. So a Host is an IP address, `localhost`,
  or a name that was given with `http-host`.
- **Origin**, and Sec-Fetch-Site: a page of another site can post a form here. Browsers tell where it comes from.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from http import HTTPStatus
from typing import ClassVar, Final
from urllib.parse import parse_qsl

from dhtd.http.assets import Assets
from dhtd.http.event_stream import EVENT_STREAM
from dhtd.http.exchange import Exchange
from dhtd.http.problems import HttpProblem

OPEN: Final = frozenset({"/healthz", "/metrics", "/readyz", *Assets.paths()})
IN_QUERY: Final = "access_token"  # RFC 6750, section 2.3: a browser's EventSource sends no header of ours
_CHALLENGE: Final = {"www-authenticate": 'Bearer realm="dhtd"'}


class Guard:
    """Lets requests to one listening address in, or raises `HttpProblem`."""

    who: ClassVar = "this daemon"
    naming: ClassVar = " To have it answer to a name, start it with --http-host"

    def __init__(
        self, is_token: Callable[[str], bool] | None, hosts: frozenset[str] = frozenset(), scheme: str = "http"
    ) -> None:
        self._is_token = is_token  # whether a text is the token; None for a Unix socket
        self._hosts = hosts | {"localhost"}
        self._scheme = scheme

    def check(self, exchange: Exchange) -> None:
        """Raise `HttpProblem` for a request that must not come in."""
        if self._is_token is None:
            return
        self._check_page(exchange)
        if exchange.path not in OPEN:
            self._check_token(exchange, self._is_token)

    def _check_page(self, exchange: Exchange) -> None:
        """Raise `HttpProblem` for a request that the page of another site may have sent."""
        host = exchange.header("host") or ""
        if not self._is_ours(host):
            raise HttpProblem(
                HTTPStatus.MISDIRECTED_REQUEST,
                f"{self.who} is not {host!r:.80}: ask for its address, or for localhost.{self.naming}",
            )
        origin = exchange.header("origin")
        if origin is not None and origin.lower() != f"{self._scheme}://{host}".lower():
            raise HttpProblem(HTTPStatus.FORBIDDEN, f"a page of {origin!r:.80} may not ask {self.who}")
        if exchange.path not in OPEN and exchange.header("sec-fetch-site") in {"cross-site", "same-site"}:
            raise HttpProblem(HTTPStatus.FORBIDDEN, f"a page of another site may not ask {self.who}")

    def _is_ours(self, host: str) -> bool:
        """Whether the Host of a request is an IP address, or one of our names."""
        name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
        if name.lower() in self._hosts:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True

    @staticmethod
    def _check_token(exchange: Exchange, is_token: Callable[[str], bool]) -> None:
        scheme, _, token = (exchange.header("authorization") or "").partition(" ")
        is_get = exchange.scope["method"] in {"GET", "HEAD"}
        if not scheme and is_get and EVENT_STREAM in (exchange.header("accept") or "").lower():
            token = dict(parse_qsl(exchange.scope["query_string"].decode("ascii", "replace"))).get(IN_QUERY, "")
            scheme = "bearer" if token else ""
        if not scheme:
            raise HttpProblem(
                HTTPStatus.UNAUTHORIZED,
                "this needs a token: send `Authorization: Bearer TOKEN`. `dht token` prints it",
                _CHALLENGE,
            )
        token = token.strip()
        if scheme.lower() != "bearer" or not is_token(token):
            challenge = {"www-authenticate": f'{_CHALLENGE["www-authenticate"]}, error="invalid_token"'}
            raise HttpProblem(HTTPStatus.UNAUTHORIZED, "this is not the token: `dht token` prints it", challenge)
        exchange.is_welcome = lambda: is_token(token)


class TokenlessGuard(Guard):
    """The guard of a site on loopback that has no token: any user of this machine may ask it, but no foreign page."""

    who = "this simulation"
    naming = ""

    def __init__(self) -> None:
        super().__init__(lambda _: True)

    @staticmethod
    def _check_token(exchange: Exchange, is_token: Callable[[str], bool]) -> None:
        """No token is needed."""
