"""Printing, also to a stream that is closed, full or no longer read.

stdout carries the result. A command that cannot write its result has failed, although its work is done. stderr carries
words for people. If stderr cannot be written, the words are lost, and the exit status stays the same.
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
    """Make printing safe from odd characters, and from streams that our parent process closed.

    A closed descriptor is opened on /dev/null. Otherwise the next socket would get its number. Reading from it fails as
    before, because a closed stdin is not an empty one.
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
    """Print a part of a result as bytes."""
    sys.stdout.flush()
    sys.stdout.buffer.write(data)


def put_json(body: Mapping[str, Any]) -> None:
    """Print one object on one line."""
    put(json.dumps(body))


def say(text: str) -> None:
    """Write a line for people to stderr, if it can be written."""
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


def output() -> int | None:
    """Return the descriptor of stdout, None if it has none."""
    try:
        return sys.stdout.fileno()
    except (OSError, ValueError):
        return None


def is_lost(error: OSError) -> bool:
    """Whether an error says that the output could not be written, and not a file that the error names."""
    return error.errno in _LOST and error.filename is None


def discard(stream: TextIO) -> None:
    """Send the rest of the buffer to /dev/null: Python flushes it at exit, and that would fail."""
    with suppress(OSError, ValueError):  # a stream that a test has put there has no descriptor
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


def finish(program: str, status: int) -> int:
    """Flush the output; return the exit status: a failure if the result could not be written."""
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
    """Say that the result could not be written; return `status`, or the status of a failure in place of 0."""
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
