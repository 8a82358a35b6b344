"""The page at `/`: files of `dhtd/http/page`, read once, and served compressed to any browser without a token.

The page is the same for every site. Its `data-source` says where its figures come from: `daemon` or `simulation`.
"""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from http import HTTPStatus
from importlib.resources import files
from typing import Final, Literal

from dhtd.http.exchange import Exchange

Source = Literal["daemon", "simulation"]

INDEX: Final = "index.html"
UNDER: Final = "/page/"  # all files but the index
TYPES: Final = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
HEADERS: Final = {
    "cache-control": "no-cache",  # a browser asks each time whether its copy is the one of this version
    "content-security-policy": POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "vary": "accept-encoding",
}


@dataclass(frozen=True, slots=True)
class Asset:
    """One file, as it is sent."""

    content_type: str
    plain: bytes
    packed: bytes
    tag: str  # of its content

    @classmethod
    def of(cls, name: str, content: bytes) -> Asset:
        tag = sha256(content).hexdigest()[:32]
        return cls(TYPES[name.rpartition(".")[2]], content, gzip.compress(content, 9, mtime=0), tag)


class Assets:
    """The page of one site."""

    def __init__(self, source: Source = "daemon") -> None:
        self._source = source

    @staticmethod
    def paths() -> Mapping[str, str]:
        """Return the name of the file at each path."""
        return {("/" if name == INDEX else UNDER + name): name for name in _contents()}

    @property
    def weight(self) -> int:
        """The bytes that a browser fetches in all."""
        return sum(len(self._asset(name).packed) for name in _contents())

    def text(self, name: str) -> str:
        """Return a file as it is served here."""
        return self._asset(name).plain.decode()

    async def serve(self, exchange: Exchange, name: str) -> None:
        """Answer with a file, or with 304 to a browser that has it."""
        asset = self._asset(name)
        is_packed = _takes_gzip(exchange.header("accept-encoding") or "")
        tag = f'"{asset.tag}{"-gzip" if is_packed else ""}"'
        headers = {**HEADERS, "etag": tag}
        known = {each.strip().removeprefix("W/") for each in (exchange.header("if-none-match") or "").split(",")}
        if tag in known:
            await exchange.answer(HTTPStatus.NOT_MODIFIED, b"", asset.content_type, headers)
        elif is_packed:
            await exchange.answer(
                HTTPStatus.OK, asset.packed, asset.content_type, {**headers, "content-encoding": "gzip"}
            )
        else:
            await exchange.answer(HTTPStatus.OK, asset.plain, asset.content_type, headers)

    def _asset(self, name: str) -> Asset:
        return _asset(name, self._source if name == INDEX else None)


@cache
def _contents() -> Mapping[str, bytes]:
    """Return the files of the page by name, the index first."""
    found = {
        each.name: each.read_bytes() for each in files("dhtd.http").joinpath("page").iterdir() if _is_ours(each.name)
    }
    return dict(sorted(found.items(), key=lambda item: (item[0] != INDEX, item[0])))


def _is_ours(name: str) -> bool:
    return name.rpartition(".")[2] in TYPES and not name.startswith(".")


@cache
def _asset(name: str, source: Source | None) -> Asset:
    content = _contents()[name]
    if source is not None:
        content = content.replace(b'data-source="daemon"', f'data-source="{source}"'.encode(), 1)
    return Asset.of(name, content)


def _takes_gzip(accept: str) -> bool:
    """Whether Accept-Encoding names gzip, with a weight that is not 0."""
    for each in accept.lower().split(","):
        coding, _, weight = each.partition(";")
        if coding.strip() == "gzip":
            return weight.replace(" ", "") not in {"q=0", "q=0.0", "q=0.00", "q=0.000"}
    return False
