"""An event that many clients get: its JSON is made once, and every transport sends it as it is."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any


class Written(Mapping[str, Any]):
    """An object whose JSON, in ASCII and on one line, is `text`. It can be read as a mapping as well."""

    def __init__(self, text: str) -> None:
        self.text = text

    @cached_property
    def _body(self) -> dict[str, Any]:
        body: dict[str, Any] = json.loads(self.text)
        return body

    def __getitem__(self, key: str) -> Any:
        return self._body[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._body)

    def __len__(self) -> int:
        return len(self._body)
