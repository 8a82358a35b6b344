"""What is printed, and what becomes of a stream that is closed, full or no longer read.

stdout carries the result: a command whose result cannot be written has failed, although what it did is done. stderr
carries words for people: where they cannot be written, they are lost, and the exit status is what it would have been.
"""

from __future__ import annotations

import errno
import json
import os
import select
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from io import TextIOWrapper
from typing import Any, NoReturn, TextIO

from dhtd.errors import EXIT_NEGATIVE

_STREAMS = (0, 1, 2)  # descriptors of stdin, stdout and stderr
_LOST = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF, errno.ENXIO, errno.EPERM}


def prepare() -> None:
    """Let nothing that is printed fail for its characters, or because whoever started us closed a stream.

    A descriptor that was closed leads to /dev/null, or else the next socket would have its number. Reading from there
    fails as before: nobody is to take a stdin that is closed for one that is empty.
    """
    while (descriptor := os.open(os.devnull, os.O_WRONLY)) in _STREAMS:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", errors="backslashreplace")  # noqa: SIM115 - for the rest of the process
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace")  # noqa: SIM115
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace" if sys.stdout.isatty() else "backslashreplace")


def put(line: str) -> None:
    """Print a line of the result."""
    sys.stdout.write(f"{line}\n")


def put_bytes(data: bytes) -> None:
    """Print a part of a result that is no text."""
    sys.stdout.flush()
    sys.stdout.buffer.write(data)


def put_json(body: Mapping[str, Any]) -> None:
    """Print one object on one line."""
    put(json.dumps(body))


def say(text: str) -> None:
    """Tell a person something, if anybody hears it."""
    try:
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()
    except OSError:
        discard(sys.stderr)


def is_writable(stream: TextIO) -> bool:
    """Whether a few lines can be written without waiting: no full pipe, no terminal that Ctrl-S has stopped."""
    try:
        poll = select.poll()
        poll.register(stream.fileno(), select.POLLOUT)
        return bool(poll.poll(0))
    except (OSError, ValueError):  # no descriptor
        return True


def is_lost(error: OSError) -> bool:
    """Whether an error says that the output could not be written, and not a file that the error names."""
    return error.errno in _LOST and error.filename is None


def discard(stream: TextIO) -> None:
    """Let what is still in the buffer go nowhere: Python flushes it at the end, and fails if it cannot."""
    with suppress(OSError, ValueError):  # a stream that a test has put there has no descriptor
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


def finish(program: str, status: int) -> int:
    """Flush what was printed; return the exit status, which is a failure where the result could not be written."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        die_of_broken_pipe()
    except OSError as error:
        status = lose_output(program, error, status)
    try:
        sys.stderr.flush()
    except OSError:
        discard(sys.stderr)
    return status


def lose_output(program: str, error: OSError, status: int) -> int:
    """Say that the result could not be written; return `status`, or that of a failure where it is none."""
    discard(sys.stdout)
    say(f"{program}: cannot write the output: {error.strerror}")
    return status or EXIT_NEGATIVE


def die_of_broken_pipe() -> NoReturn:
    """End as other programs do when the reader of their output goes away (`dht info | head -1`)."""
    discard(sys.stdout)
    discard(sys.stderr)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.raise_signal(signal.SIGPIPE)
    os._exit(128 + signal.SIGPIPE)  # process 1 of a container outlives it
