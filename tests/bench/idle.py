"""The cost of an idle daemon: resident memory and wake-ups, read from /proc over some seconds of quiet.

Run it with `python3 dev.py bench idle` (Linux).
"""

from __future__ import annotations

import time
from pathlib import Path

from tests.e2e.daemons import Network

SETTLE = 15.0  # seconds after the start until the network is quiet
WATCH = 30.0  # seconds


def main() -> None:
    with Network() as network:
        daemons = network.start(8)
        time.sleep(SETTLE)
        pids = [daemon.process.pid for daemon in daemons]
        before = [(switches(pid), cpu_ticks(pid)) for pid in pids]
        time.sleep(WATCH)
        after = [(switches(pid), cpu_ticks(pid)) for pid in pids]
        print("daemon  resident MiB  wake-ups/s  CPU ticks")
        for index, pid in enumerate(pids):
            woken = switched(before[index][0], after[index][0]) / WATCH
            print(f"{index:>6}  {resident(pid):>12.1f}  {woken:>10.2f}  {after[index][1] - before[index][1]:>9}")


def status(pid: int) -> dict[str, str]:
    """Return /proc/PID/status as a table."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return dict(line.split(":", 1) for line in lines)


def resident(pid: int) -> float:
    return int(status(pid)["VmRSS"].split()[0]) / 1024


def switches(pid: int) -> dict[str, int]:
    """Return how often each thread of the process went to sleep and woke."""
    counts = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        table = dict(line.split(":", 1) for line in (task / "status").read_text(encoding="ascii").splitlines())
        counts[task.name] = int(table["voluntary_ctxt_switches"])
    return counts


def switched(before: dict[str, int], after: dict[str, int]) -> int:
    """Return the wake-ups between two looks, of living threads: idle ones of trio's pool end."""
    return sum(count - before.get(thread, 0) for thread, count in after.items())


def cpu_ticks(pid: int) -> int:
    """Return the CPU time used, in clock ticks."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


if __name__ == "__main__":
    main()
