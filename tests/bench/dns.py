"""Answers of the DNS door per CPU-second, from what it keeps.

Run it with `python3 dev.py bench dns`. Three daemons run on loopback; one of them serves DNS, and another entered the
name. A client sends questions in a row, then takes their answers, and checks each. The kernel counts the CPU time of
the daemon, its node included. The last kind of question was never asked before: each makes a lookup.
"""

from __future__ import annotations

import argparse
import socket
import sys
import time
from collections.abc import Callable, Sequence
from random import Random
from statistics import median
from typing import Final

import dns.edns
import dns.flags
import dns.message
import dns.rcode

from tests.bench.load import PATIENCE, Measured, TooShortError, cpu_seconds
from tests.e2e.daemons import Network

NAME: Final = "wiki.dht.alt"
PORT: Final = 1753
WINDOW: Final = 64
Make = Callable[[int], bytes]  # the question with this ID


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser("dev.py bench dns", description="Measure the answers of the DNS door.")
    parser.add_argument("--rounds", type=int, default=7, metavar="N", help="interleaved rounds (7)")
    parser.add_argument("--questions", type=int, default=12_800, metavar="N", help="of each kind and round (12800)")
    options = parser.parse_args(arguments)
    rng = Random(1)
    with Network() as network:
        address = f"{network.subnet}.250"
        [asked] = network.start(1, f"--dns={address}:{PORT}")
        owner, _ = network.start(2)
        network.dht(asked, "bootstrap", owner.endpoint)
        network.dht(owner, "enter", NAME.partition(".")[0], "8080")
        kinds = makers(rng)
        rates: dict[str, list[float]] = {name: [] for name in kinds}
        lost = 0
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
            asker.connect((address, PORT))
            asker.settimeout(PATIENCE)
            try:
                for turn in range(1 + options.rounds):
                    for name, make in kinds.items():
                        many = options.questions // (200 if name == "never asked" else 1)
                        load = flood(asker, asked.process.pid, make, many)
                        lost += load.lost
                        if turn:  # the first fills what is kept
                            rates[name].append(load.rate)
            except TooShortError as error:
                print(f"bench dns: {error}", file=sys.stderr)
                return 1
    print(f"{options.rounds} rounds of {options.questions} questions, {WINDOW} in a row; {lost} lost\n")
    print(f"{'question':<24}{'answers per CPU-second':>24}{'least':>9}{'most':>9}")
    for name, each in rates.items():
        print(f"{name:<24}{median(each):>24,.0f}{min(each):>9,.0f}{max(each):>9,.0f}")
    return 0


def makers(rng: Random) -> dict[str, Make]:
    """Return the kinds of questions."""

    def mixed(id: int) -> bytes:
        """Ask in a mix of capitals, as resolvers do against forgers."""
        letters = "".join(rng.choice((letter, letter.upper())) for letter in NAME)
        return question(letters, "A")(id)

    def cookie(id: int) -> bytes:
        """Ask as dig does: with another cookie each time."""
        option = dns.edns.GenericOption(dns.edns.OptionType.COOKIE, rng.randbytes(8))
        return made(NAME, "A", id, use_edns=0, payload=1232, options=[option])

    def new(id: int) -> bytes:
        return made(f"{rng.randbytes(8).hex()}.dht.alt", "A", id)

    return {
        "A": question(NAME, "A"),
        "SRV, EDNS": question(NAME, "SRV", use_edns=0, payload=1232),
        "A, mixed capitals": mixed,
        "A, cookies": cookie,
        "AAAA, nothing there": question(NAME, "AAAA"),
        "never asked": new,
    }


def question(name: str, kind: str, **options: object) -> Make:
    """Return a maker of one question, which is written once."""
    wire = made(name, kind, 0, **options)
    return lambda id: id.to_bytes(2, "big") + wire[2:]


def made(name: str, kind: str, id: int, **options: object) -> bytes:
    return dns.message.make_query(name, kind, id=id, **options).to_wire()  # type: ignore[arg-type]


def flood(asker: socket.socket, pid: int, make: Make, many: int) -> Measured:
    """Ask so many questions, `WINDOW` in a row; raise where an answer is not one."""
    questions = [make(number % 65_536) for number in range(many)]
    before = cpu_seconds(pid)
    answered = 0
    for start in range(0, many, WINDOW):
        wanted = {}
        for each in questions[start : start + WINDOW]:
            asker.send(each)
            wanted[each[:2]] = each
        until = time.monotonic() + 10 * PATIENCE
        while wanted and time.monotonic() < until:
            try:
                answer = asker.recv(65_535)
            except TimeoutError:
                break
            asked = wanted.pop(answer[:2], None)
            if asked is not None:
                check(answer, asked)
                answered += 1
    spent = cpu_seconds(pid) - before
    if not answered or not spent:
        raise TooShortError("nothing was measured: ask more questions")
    return Measured(answered, many - answered, spent)


def check(answer: bytes, asked: bytes) -> None:
    """Raise where an answer is not whole, or to another question."""
    end = asked.index(0, 12) + 5
    if not answer[2] & 0x80 or answer[3] & 0x0F not in {dns.rcode.NOERROR, dns.rcode.NXDOMAIN}:
        raise AssertionError(answer.hex())
    if answer[12:end] != asked[12:end] or (int.from_bytes(answer[2:4], "big") & dns.flags.TC):
        raise AssertionError(answer.hex())


if __name__ == "__main__":
    sys.exit(main())
