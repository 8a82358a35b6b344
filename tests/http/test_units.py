"""The modules of the page that need no browser, tested by `node --test`: tests/http/units has the tests."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

UNITS = sorted((Path(__file__).parent / "units").glob("*.test.mjs"))
DEADLINE = 120.0  # seconds; only a hang reaches it


def version() -> tuple[int, int]:
    """Return the version of Node.js, or 0.0 where there is none."""
    node = shutil.which("node")
    if node is None:
        return 0, 0
    done = subprocess.run([node, "--version"], capture_output=True, text=True, check=True)
    found = re.match(r"v(\d+)\.(\d+)", done.stdout)
    return (int(found[1]), int(found[2])) if found else (0, 0)


@pytest.mark.skipif(version() < (20, 19), reason="Node.js 20.19 or newer is not installed: older ones want .mjs")
def test_the_modules_of_the_page_keep_their_contracts() -> None:
    done = subprocess.run(
        ["node", "--test", "--test-reporter=tap", *map(str, UNITS)],
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE,
    )
    failed = re.findall(r"^not ok .*", done.stdout, re.MULTILINE)
    assert (done.returncode, failed) == (0, []), done.stdout + done.stderr
    assert int(re.findall(r"^# pass (\d+)", done.stdout, re.MULTILINE)[0]) >= 40
