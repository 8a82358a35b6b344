"""Interactive shells on their own terminal: keys go in, the drawn text comes out, nothing waits for a clock."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

DEADLINE = 60.0  # seconds; only a hang reaches it
ROWS, COLUMNS = 50, 200
PROMPT = "READY> "

_CONTROL = re.compile(
    r"\x1b\[[0-9;:?<=>]*[a-zA-Z]|\x1b\][^\x07\x1b]*(\x07|\x1b\\)|\x1b[()][A-Z0-9]|\x1b[=>]|[\x00\x07\x0f]"
)
_QUESTION = re.compile(r"\x1b\[0?c")  # what kind of terminal are you?


class Terminal:
    """A program on a terminal; leaving it hangs up."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str], directory: Path) -> None:
        self._pid, self._fd = pty.fork()
        if self._pid == 0:
            try:
                os.chdir(directory)
                os.execvpe(command[0], list(command), dict(env))
            finally:
                os._exit(127)
        fcntl.ioctl(self._fd, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        self._raw = ""
        self._is_over = False
        self._read = 0  # characters of `_raw` that have been waited for

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._fd)
        if not self._is_over:
            os.kill(self._pid, signal.SIGKILL)
            self.end()

    def end(self) -> int:
        """Return how the program has ended, like `waitpid`."""
        self._is_over = True
        return os.waitpid(self._pid, 0)[1]

    def type(self, keys: str) -> None:
        os.write(self._fd, keys.encode())

    @property
    def drawn(self) -> str:
        """Everything drawn so far, as it was sent."""
        return self._raw

    def send(self, number: int) -> None:
        os.kill(self._pid, number)

    def wait(self, *texts: str) -> str:
        """Wait until each of these has been drawn since the last time; return everything that was."""
        deadline = time.monotonic() + DEADLINE
        while True:
            drawn = _CONTROL.sub("", self._raw[self._read :])
            if all(text in drawn for text in texts):
                self._read = len(self._raw)
                return drawn
            self._receive(deadline, texts)

    def read_to_end(self) -> str:
        """Return everything drawn until the program ends, as it is sent."""
        deadline = time.monotonic() + DEADLINE
        while self._receive(deadline, ()):
            pass
        return self._raw

    def _receive(self, deadline: float, texts: Sequence[str]) -> bool:
        ready, _, _ = select.select([self._fd], [], [], max(0.0, deadline - time.monotonic()))
        assert ready, f"waited for {texts} in vain, after {self._raw[self._read :]!r}"
        try:
            data = os.read(self._fd, 65_536).decode(errors="replace")
        except OSError:
            data = ""
        assert data or not texts, f"ended while {texts} was waited for, after {self._raw[self._read :]!r}"
        self._raw += data
        for _ in _QUESTION.findall(data):
            self.type("\x1b[?62c")
        return bool(data)


class Shell(Terminal):
    def press_tab(self, line: str) -> str:
        """Type a line and TAB; return the line that it has become, without blanks at its end.

        The line is not run but shown by `echo`, so that it is read from plain output and not from a redrawn screen.
        """
        self.type(f"{line}\t\x01echo LI''NE: \x05\r")
        drawn = self.wait("LINE: ", PROMPT)
        [*_, shown] = re.findall(r"LINE: ([^\r\n]*)", drawn)
        return str(shown).rstrip()

    def offered(self, line: str, *expected: str, tabs: int = 1) -> str:
        """Type a line and TAB; wait until `expected` are offered, clear the line, and return everything drawn."""
        self.type(line + "\t" * tabs)
        drawn = self.wait(*expected)
        self.type("\x15\r")
        return drawn + self.wait(PROMPT)

    def run(self, line: str) -> None:
        self.type(f"{line}; echo DO''NE\r")
        self.wait("DONE\r\n", PROMPT)
