"""The numbers of signed values: a higher one takes the place of a lower one."""

from __future__ import annotations

from dhtd.core.records import SEQ_MAX
from dhtd.errors import NewerValue, OtherValue


def next_seq(known: int | None, cas: int | None, now: int) -> int:
    """Return the number of a new value: the microseconds of `now`, unless the value that is there has a higher one.

    `known` is its number, None if none is known to be there. Raises `OtherValue` if that is not `cas`, and `NewerValue`
    if no higher number is left.
    """
    if cas is not None and cas != known:
        what = "no value is there" if known is None else f"the value that is there has seq {known}"
        raise OtherValue(f"{what}, and this one is to replace one of seq {cas}")
    if known is None:
        return now
    if known >= SEQ_MAX:
        raise NewerValue(f"the value that is there has seq {known}, and there is no higher one: use another salt")
    return max(known + 1, now)
