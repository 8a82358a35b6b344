"""The resources of a process, from Linux."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple


class Sample(NamedTuple):
    """One look at a process."""

    rss_kb: int
    descriptors: int
    threads: int


def probe(pid: int) -> Sample | None:
    """Look at a process; None if it has just ended."""
    place = Path("/proc") / str(pid)
    try:
        status = (place / "status").read_text(encoding="ascii", errors="replace")
        descriptors = len(list((place / "fd").iterdir()))
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = dict(re.findall(r"^(VmRSS|Threads):\s+(\d+)", status, re.MULTILINE))
    if "VmRSS" not in fields:  # a zombie has none
        return None
    return Sample(int(fields["VmRSS"]), descriptors, int(fields["Threads"]))
