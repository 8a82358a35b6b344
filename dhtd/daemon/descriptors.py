"""A lack of file descriptors. Any step of the start may meet it, and it has one cure."""

from __future__ import annotations

import errno
import resource
from typing import Final

from dhtd.errors import NoDescriptor

_LACK: Final = (errno.EMFILE, errno.ENFILE)


def as_lack(error: BaseException | None) -> NoDescriptor | None:
    """Return the error for the user if `error`, or one of its causes, is a lack of file descriptors."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _LACK:
            limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
            return NoDescriptor(
                f"the system opens no further file for dhtd ({error.strerror}; the limit is {limit}): raise"
                " `ulimit -n`, or LimitNOFILE= of the service"
            )
        error = error.__cause__ or error.__context__
    return None
