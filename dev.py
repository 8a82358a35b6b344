#!/usr/bin/env python3
"""Set up this checkout and run what is in it, with nothing but Python 3.11 or newer.

usage: python3 dev.py COMMAND [ARGUMENT]...

  run [OPTION]...     start a daemon: `dhtd start OPTION...`
  dht ARGUMENT...     run the client
  test [ARGUMENT]...  pass the tests, but the slow ones, and the coverage gate; with arguments: `pytest ARGUMENT...`
  bench [OPTION]...   measure what queries cost, beside libtorrent, OpenDHT and kademlia
  bench NAME          measure something else; the names are below
  profile, faults, fuzz, soak, picture, screenshot [ARGUMENT]...
                      see below
  lint                check format, lint and types
  sync                only set up, or bring up to date
  uv ARGUMENT...      run the uv that uv.lock names, e.g. `uv lock --upgrade`

The first command makes .venv, with the Python that runs it, and again whenever that Python, uv.lock, pyproject.toml or
the version has changed. Downloads go into .uv and .venv, and every byte is checked against the SHA-256 in uv.lock.
While .venv is fresh, nothing touches the network. Set-up writes nothing outside the checkout, unless UV_CACHE_DIR says
so. A daemon has its usual files (dhtd(8), FILES), and tests and benchmarks use the temporary directory.
"""

import fcntl
import hashlib
import http.client
import io
import os
import platform
import re
import shutil
import ssl
import subprocess
import sys
import tempfile
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

try:
    import tomllib
except ImportError:
    sys.exit(
        f"dev.py: this is Python {platform.python_version()}, and dhtd needs 3.11 or newer: "
        "install one and run dev.py with it, e.g. `python3.12 dev.py`"
    )

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
TOOLS = ROOT / ".uv"
COVERING = ("tests/core", "tests/wire")  # these tests must cover 100 % of their code
TIMEOUT = 60.0  # seconds without a byte from the network


class Tool(NamedTuple):
    """A module of the tests that runs as a program, and its dependency group beside `dev`."""

    module: str
    what: str
    group: str = ""


RUNS = {
    "bench": Tool("tests.bench", "what queries cost, beside libtorrent, OpenDHT and kademlia", "bench"),
    "bench lookups": Tool("tests.bench.lookups", "lookups where contacts are dead, beside textbook Kademlia"),
    "bench memory": Tool("tests.bench.memory", "what a contact, an own entry and a held entry take"),
    "bench growth": Tool("tests.bench.growth", "what queries cost with many contacts and entries"),
    "bench parts": Tool("tests.bench.parts", "each step of serving a find_node, inside the node"),
    "bench startup": Tool("tests.bench.startup", "how long programs take to start"),
    "bench testnet": Tool("tests.bench.testnet", "how soon a network for tests is ready, and lookups from Python"),
    "bench enter": Tool("tests.bench.entering", "entering a thousand IDs, one by one and by a list"),
    "bench joining": Tool("tests.bench.joining", "entering right after the start of many daemons"),
    "bench gone": Tool("tests.bench.gone", "how soon an entry is gone when its service is killed"),
    "bench goodbye": Tool("tests.bench.goodbye", "how soon an entry is gone when its daemon ends, and restarts"),
    "bench leases": Tool("tests.bench.leases", "what own entries make a node send, to keep them"),
    "bench dns": Tool("tests.bench.dns", "answers of the DNS door from what it keeps"),
    "bench checks": Tool("tests.bench.checks", "what checks of entries cost a daemon"),
    "bench crowding": Tool("tests.bench.crowding", "how often chance passes for a crowd, and a crowd for chance"),
    "bench ring": Tool("tests.bench.ring", "the ring over a service beside uhashring", "bench"),
    "bench http": Tool("tests.bench.http", "lookups by HTTP beside a bare starlette"),
    "bench page": Tool("tests.bench.page", "frames a second of the page, with 10,000 nodes and 50 lookups a second"),
    "bench followers": Tool("tests.bench.followers", "what clients that follow all events cost"),
    "bench idle": Tool("tests.bench.idle", "what a quiet daemon does"),
    "bench outages": Tool("tests.bench.outages", "how soon an outage is noticed, and how often one is imagined"),
    "bench flips": Tool("tests.bench.flips", "what flipped bits in a state file cost"),
    "bench amplification": Tool("tests.bench.amplification", "the bytes that forged queries bring", "bench"),
    "bench amplification-mainline": Tool(
        "tests.bench.amplification_mainline", "bytes out for bytes in there, sustained"
    ),
    "bench flood": Tool("tests.bench.flood", "what forged queries cost honest ones"),
    "bench newcomers": Tool("tests.bench.newcomers", "whether newcomers are known among forged queries"),
    "bench silence": Tool("tests.bench.silence", "for how long a full daemon is silent towards others"),
    "bench hostile": Tool("tests.bench.hostile", "the dearest datagrams"),
    "bench restart": Tool("tests.bench.restart", "starts with keys that collide"),
    "bench republish": Tool("tests.bench.republish", "what contacts that change their IDs have a node send"),
    "bench lookups-mainline": Tool(
        "tests.bench.lookups_mainline", "lookups among nodes of libtorrent, a third of them dead, beside its own"
    ),
    "bench clients": Tool("tests.bench.clients", "clients of Mainline, with dhtd and libtorrent as router", "bench"),
    "profile": Tool("tests.bench.profile", "shows where the time of serving queries goes"),
    "faults": Tool("tests.faults", "seeds faults into a copy of the code, and counts those that the tests catch"),
    "fuzz": Tool("tests.fuzz", "looks for inputs that break a decoder, a seal, the node or the state file", "fuzz"),
    "soak": Tool("tests.soak", "runs daemons under load, kills and restarts them, and sees that nothing is lost"),
    "screenshot": Tool("tests.picture.page", "takes the picture of the page, docs/page.webp"),
    "picture": Tool("tests.picture", "draws the `dht info` of docs/info.svg"),
}
COMMANDS = ("run", "dht", "test", "lint", "sync", "uv")
BENCHMARKS = tuple(name.removeprefix("bench ") for name in RUNS if name.startswith("bench "))


class Platform(NamedTuple):
    """The C library or system, its version, and the machine, which a wheel's platform tag must suit."""

    family: str
    version: tuple[int, ...]
    machine: str


def this_platform() -> Platform:
    """Describe this interpreter's platform in the words of wheel tags (PEP 600, PEP 656)."""
    machine = platform.machine()
    if sys.maxsize < 2**32:  # a 32-bit Python, even on a 64-bit kernel
        machine = {"x86_64": "i686", "aarch64": "armv7l", "armv8l": "armv7l"}.get(machine, machine)
    if sys.platform == "darwin":
        return Platform("macosx", tuple(map(int, platform.mac_ver()[0].split("."))), machine)
    if sys.platform != "linux":
        return Platform(sys.platform, (), machine)
    try:
        libc = os.confstr("CS_GNU_LIBC_VERSION")  # "glibc 2.36"
    except ValueError:
        libc = None
    if libc:
        return Platform("manylinux", tuple(map(int, libc.split()[1].split("."))), machine)
    return Platform("musllinux", (1, 1), machine)  # uv's build is static: any musl will do


def choose_wheel(wheels: list[dict[str, str]], here: Platform) -> dict[str, str] | None:
    """Return the first of `wheels` (as uv.lock lists them) that runs on `here`."""
    for wheel in wheels:
        tags = wheel["url"].removesuffix(".whl").rsplit("-", 1)[1].split(".")
        for tag in tags:
            if tag == f"linux_{here.machine}" and here.family.endswith("linux"):
                return wheel
            match = re.fullmatch(rf"{here.family}_(\d+)_(\d+)_{here.machine}", tag)
            if match and (int(match[1]), int(match[2])) <= here.version:
                return wheel
    return None


def check_hash(data: bytes, wheel: dict[str, str]) -> None:
    """Exit unless `data` has the hash that uv.lock gives for `wheel`."""
    found = f"sha256:{hashlib.sha256(data).hexdigest()}"
    if found != wheel["hash"]:
        sys.exit(
            f"dev.py: {wheel['url']}\n  is not the file that uv.lock names: nothing of it was kept or run.\n"
            f"  wanted {wheel['hash']}\n  found  {found}\n"
            "  Something between this machine and the server changes downloads; try another network."
        )


def has_authorities() -> bool:
    """Whether this machine has any certificate authority to check a server with."""
    if ssl.create_default_context().cert_store_stats()["x509_ca"]:
        return True
    directory = ssl.get_default_verify_paths().capath  # its certificates are loaded only on demand
    return bool(directory) and any(Path(directory).iterdir())  # None if there is no such directory


def fetch(wheel: dict[str, str], *, verify: bool) -> bytes:
    """Download `wheel` and check its hash, which makes `verify=False` safe."""
    context = ssl.create_default_context()
    if not verify:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with urllib.request.urlopen(wheel["url"], timeout=TIMEOUT, context=context) as response:
            data: bytes = response.read()
    except (OSError, http.client.HTTPException) as error:
        unknown = isinstance(getattr(error, "reason", None), ssl.SSLCertVerificationError)
        sys.exit(
            f"dev.py: cannot fetch {wheel['url']}: {error}\n"
            + (
                "  The certificate is of no authority that this machine knows: SSL_CERT_FILE can name a file of others."
                if unknown
                else "  Setting up needs the network once (HTTPS_PROXY is respected); run the same command again."
            )
        )
    check_hash(data, wheel)
    return data


def install_uv(package: dict[str, Any], wheel: dict[str, str] | None, *, verify: bool) -> Path:
    """Return the path of the uv in uv.lock, fetching it if it is missing."""
    uv = TOOLS / f"uv-{package['version']}"
    if uv.exists():
        return uv
    if wheel is None:
        own = shutil.which("uv")
        if own:
            return Path(own)
        sys.exit(f"dev.py: there is no build of uv for {this_platform()}: put a uv on PATH, and run this again")
    say(f"fetching uv {package['version']}")
    with zipfile.ZipFile(io.BytesIO(fetch(wheel, verify=verify))) as archive:
        [member] = [name for name in archive.namelist() if name.endswith(".data/scripts/uv")]
        partial = uv.with_suffix(".partial")
        partial.write_bytes(archive.read(member))
    partial.chmod(0o755)
    return partial.replace(uv)


def uv_environment(*, verify: bool) -> dict[str, str]:
    """Return an environment that keeps uv inside the checkout, with the certificate authorities of Python."""
    env = {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "CONDA_PREFIX")}
    env |= {"UV_PROJECT_ENVIRONMENT": str(VENV), "UV_PYTHON_DOWNLOADS": "never"}
    env.setdefault("UV_CACHE_DIR", str(TOOLS / "cache"))
    trusted = ssl.get_default_verify_paths()
    if not verify:
        env["UV_INSECURE_HOST"] = "files.pythonhosted.org"
    elif trusted.cafile:
        env["SSL_CERT_FILE"] = trusted.cafile
    elif trusted.capath:
        env["SSL_CERT_DIR"] = trusted.capath
    return env


def prepare_uv() -> tuple[Path, dict[str, str]]:
    """Return uv and its environment.

    A machine without any certificate authority cannot check a server, so it goes without the check. Each file is
    checked against uv.lock instead, by `fetch` here and then by uv, which may only install what the lock names. No
    server can cause this: on a machine with authorities, an unknown certificate is an error.
    """
    packages = tomllib.loads((ROOT / "uv.lock").read_text())["package"]
    package = next(package for package in packages if package["name"] == "uv")
    wheel = choose_wheel(package["wheels"], this_platform())
    verify = has_authorities()
    if not verify:
        say("no certificate authority on this machine: going by the SHA-256 of each file in uv.lock")
    TOOLS.mkdir(exist_ok=True)
    return install_uv(package, wheel, verify=verify), uv_environment(verify=verify)


def fingerprint() -> str:
    """Return a hash of all inputs of .venv: the lock, the project's metadata and version, the Python, and the place."""
    digest = hashlib.sha256(f"{sys.version_info[:2]} {sys.maxsize} {ROOT}".encode())
    for name in ("uv.lock", "pyproject.toml", "dhtd/__init__.py"):
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()


def groups_in(venv: Path, wanted: str) -> set[str] | None:
    """Return the extra groups in `venv`, or None if it is incomplete or was not made from `wanted`."""
    stamp = venv / "dev.stamp"
    if not (venv / "bin" / "python").exists() or not stamp.exists():
        return None
    made_from, *groups = stamp.read_text().split() or [""]
    return set(groups) if made_from == wanted else None


@contextmanager
def alone() -> Iterator[None]:
    """Wait until no other dev.py is setting up this checkout."""
    TOOLS.mkdir(exist_ok=True)
    with (TOOLS / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def sync(group: str = "") -> None:
    """Bring .venv up to date with uv.lock, with an extra `group` if one is given."""
    wanted, groups = fingerprint(), set(filter(None, [group]))
    there = groups_in(VENV, wanted)
    if there is not None and groups <= there:
        return
    with alone():
        there = groups_in(VENV, wanted)
        if there is not None and groups <= there:  # made by another run, meanwhile
            return
        groups |= there or set()
        uv, env = prepare_uv()
        say(f"making {VENV}; at most 80 MB to fetch")
        (VENV / "dev.stamp").unlink(missing_ok=True)
        if not (VENV / "bin" / "python").exists():  # an interrupted set-up, or its Python is gone
            shutil.rmtree(VENV, ignore_errors=True)
        python = getattr(sys, "_base_executable", sys.executable)  # not the Python of a .venv in which this may run
        command = [
            str(uv),
            "sync",
            "--quiet",
            "--frozen",
            "--compile-bytecode",
            "--python",
            python,
            *(f"--group={name}" for name in groups),
        ]
        # 1. Exactly the packages in the lock. 2. dhtd itself, built offline by the locked hatchling.
        for step in (["--no-install-project", "--no-build"], ["--no-build-isolation", "--offline"]):
            if subprocess.run([*command, *step], cwd=ROOT, env=env, check=False).returncode:
                sys.exit("dev.py: uv could not make .venv, for the reason above; mend it and run the same again")
        (VENV / "dev.stamp").write_text(" ".join([wanted, *sorted(groups)]))


def say(text: str) -> None:
    """Tell the user why it takes a while, on stderr: stdout belongs to the program that is run."""
    print(f"dev.py: {text}", file=sys.stderr, flush=True)


def become(program: str, *arguments: str) -> NoReturn:
    """Become a program of .venv, which then receives the signals and sets the exit status."""
    path = str(VENV / "bin" / program)  # also as argv[0], from which a Python finds its packages
    os.execv(path, [path, *arguments])


def lint() -> int:
    """Run every check, and return the first failure's exit status."""
    checks = (["ruff", "format", "--check"], ["ruff", "check"], ["mypy", "--strict", "--num-workers=auto"])
    return next(filter(None, [subprocess.call([VENV / "bin" / name, *rest]) for name, *rest in checks]), 0)


def run_tests() -> int:
    """Run every test that is not marked `slow` or `long`, and return the first failure's exit status.

    The tests of the core and the wire, with their coverage gate, run beside the others: while one test waits for a
    daemon, another has its processor. Their output comes last. They end first, so the others have a worker more.
    """
    pytest = [str(VENV / "bin" / "pytest"), "--dist=worksteal"]
    with tempfile.TemporaryFile() as output:
        measured = [*pytest, "--numprocesses=auto", *COVERING, "--cov"]  # behind --cov, a path says what to cover
        with subprocess.Popen(measured, stdout=output, stderr=subprocess.STDOUT) as beside:
            workers = f"--numprocesses={(os.cpu_count() or 1) + 1}"
            others = subprocess.call([*pytest, workers, *(f"--ignore={path}" for path in COVERING)])
        output.seek(0)
        print(output.read().decode(errors="replace"), end="", flush=True)
    return beside.returncode or others


def usage() -> str:
    return "\n".join([str(__doc__), *(f"  {name:<20}{tool.what}" for name, tool in RUNS.items())])


def main(command: str = "", *arguments: str) -> int:
    """Run one command line; return its exit status where it does not become another program."""
    if command in ("help", "-h", "--help"):
        print(usage())
        return 0
    if command not in (*COMMANDS, *RUNS):
        print(f"dev.py: unknown command: {command}\n" if command else "", usage(), sep="", file=sys.stderr)
        return 2
    if command == "uv":
        with alone():
            uv, env = prepare_uv()
        env.pop("UV_INSECURE_HOST", None)  # no lock vouches for the files of this command
        os.execve(uv, ["uv", *arguments], env)
    rest = arguments
    if command == "bench" and arguments and not arguments[0].startswith("-"):
        command, rest = f"bench {arguments[0]}", arguments[1:]
        if command not in RUNS:
            print(f"dev.py: unknown benchmark: {arguments[0]}; there are {', '.join(BENCHMARKS)}", file=sys.stderr)
            return 2
    tool = RUNS.get(command)
    group = "" if tool is None or {"-h", "--help"}.intersection(arguments) else tool.group
    sync(group)  # without the group if only help is asked for
    if command == "run":
        become("dhtd", "start", *arguments)
    if command == "dht":
        become("dht", *arguments)
    os.chdir(ROOT)
    if command == "test":
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # compiled files halve the start of the daemons under test
        if arguments:
            become("pytest", *arguments)
    if tool is not None:
        become("python", "-m", tool.module, *rest)
    ends = {"lint": lint, "test": run_tests}
    return ends[command]() if command in ends else 0


if __name__ == "__main__":
    try:
        sys.exit(main(*sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
    except OSError as error:
        sys.exit(f"dev.py: {error}\n  It writes 400 MB to .venv and .uv in {ROOT}: is there space, and permission?")
