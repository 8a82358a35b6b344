"""Where the modules of a package-lock.json are: outside the checkout, under the hash of that file.

`python -m tests.mainline.modules` installs them, with npm.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from hashlib import sha256
from pathlib import Path
from typing import Final

CLIENTS: Final = Path(__file__).parent / "npm"  # of the Mainline network
PAGE: Final = Path(__file__).parents[1] / "http" / "npm"  # what looks for faults in the page
_FILES: Final = ("package.json", "package-lock.json")


def directory(pinned: Path = CLIENTS) -> Path:
    """Return the directory in which the modules of a lock belong; it exists if they are installed."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "dhtd-tests" / sha256((pinned / _FILES[-1]).read_bytes()).hexdigest()[:16] / "node_modules"


def install(pinned: Path) -> None:
    """Install the modules of a lock where they are missing."""
    wanted = directory(pinned).parent
    if wanted.exists():
        return
    wanted.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(dir=wanted.parent))
    try:
        for name in _FILES:
            shutil.copy(pinned / name, made)
        # No script of a package runs: what needs compiled code brings it along.
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        subprocess.run(command, cwd=made, check=True, stdout=subprocess.DEVNULL)
        made.rename(wanted)
    finally:
        shutil.rmtree(made, ignore_errors=True)


if __name__ == "__main__":
    install(CLIENTS)
    install(PAGE)
