"""dev.py: its downloads, its refusals, and when it does nothing. No test here touches the network."""

import hashlib
import importlib.metadata
import io
import os
import platform
import runpy
import shutil
import ssl
import subprocess
import sys
import tomllib
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, Self
from urllib.parse import urlsplit

import pytest

import dev
import dhtd

ROOT = dev.ROOT
LOCK = tomllib.loads((ROOT / "uv.lock").read_text())
UV = next(package for package in LOCK["package"] if package["name"] == "uv")


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give dev.py an empty checkout with a lock and metadata of its own."""
    monkeypatch.setattr(dev, "ROOT", tmp_path)
    monkeypatch.setattr(dev, "VENV", tmp_path / ".venv")
    monkeypatch.setattr(dev, "TOOLS", tmp_path / ".uv")
    (tmp_path / "dhtd").mkdir()
    for name in ("uv.lock", "pyproject.toml", "dhtd/__init__.py"):
        (tmp_path / name).write_text(f"{name} as committed")
    return tmp_path


def make_venv(checkout: Path) -> None:
    (checkout / ".venv" / "bin").mkdir(parents=True)
    (checkout / ".venv" / "bin" / "python").touch()
    (checkout / ".venv" / "dev.stamp").write_text(dev.fingerprint())


def serve(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    """Answer every download with `content`."""
    monkeypatch.setattr(urllib.request, "urlopen", lambda *args, **kwargs: io.BytesIO(content))


def fail(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """Answer every download with `error`."""

    def urlopen(*args: object, **kwargs: object) -> NoReturn:
        raise error

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)


def wheel_with(content: bytes) -> tuple[bytes, dict[str, str]]:
    """Make a wheel of uv with `content` as its program, and its entry for uv.lock."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("uv-1.2.3.dist-info/METADATA", "Name: uv")
        archive.writestr("uv-1.2.3.data/scripts/uvx", b"not this one")
        archive.writestr("uv-1.2.3.data/scripts/uv", content)
    digest = hashlib.sha256(file.getvalue()).hexdigest()
    return file.getvalue(), {
        "url": "https://example.org/uv-1.2.3-py3-none-any.whl",
        "hash": f"sha256:{digest}",
    }


@pytest.mark.parametrize(
    ("here", "tag"),
    [
        (dev.Platform("manylinux", (2, 36), "x86_64"), "manylinux_2_17_x86_64"),
        (dev.Platform("manylinux", (2, 17), "aarch64"), "manylinux_2_17_aarch64"),
        (dev.Platform("manylinux", (2, 41), "armv7l"), "manylinux_2_17_armv7l"),
        (dev.Platform("manylinux", (2, 36), "armv6l"), "linux_armv6l"),
        (dev.Platform("manylinux", (2, 36), "i686"), "manylinux_2_17_i686"),
        (dev.Platform("manylinux", (2, 41), "riscv64"), "manylinux_2_31_riscv64"),
        (dev.Platform("musllinux", (1, 1), "x86_64"), "musllinux_1_1_x86_64"),
        (dev.Platform("musllinux", (1, 1), "aarch64"), "musllinux_1_1_aarch64"),
        (dev.Platform("macosx", (15, 1), "arm64"), "macosx_11_0_arm64"),
        (dev.Platform("macosx", (10, 15, 7), "x86_64"), "macosx_10_12_x86_64"),
    ],
)
def test_the_wheel_suits_the_platform(here: dev.Platform, tag: str) -> None:
    wheel = dev.choose_wheel(UV["wheels"], here)
    assert wheel is not None
    assert tag in wheel["url"]


@pytest.mark.parametrize(
    "here",
    [
        dev.Platform("manylinux", (2, 12), "x86_64"),  # the C library is too old
        dev.Platform("manylinux", (2, 36), "sparc64"),
        dev.Platform("macosx", (10, 9), "x86_64"),
        dev.Platform("macosx", (15, 0), "armv6l"),  # a wheel for Linux is not one for another system
        dev.Platform("freebsd14", (), "amd64"),
    ],
)
def test_no_wheel_is_chosen_that_would_not_run(here: dev.Platform) -> None:
    assert dev.choose_wheel(UV["wheels"], here) is None


def test_this_platform_has_a_wheel() -> None:
    assert dev.choose_wheel(UV["wheels"], dev.this_platform()) is not None


def test_a_32_bit_python_gets_its_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(sys, "maxsize", 2**31 - 1)
        patch.setattr(platform, "machine", lambda: "aarch64")
        here = dev.this_platform()
    assert here.machine == "armv7l"


def test_uv_is_unpacked_once_and_can_be_run(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, wheel = wheel_with(b"the program")
    serve(monkeypatch, data)
    dev.TOOLS.mkdir()
    uv = dev.install_uv({"version": "1.2.3"}, wheel, verify=True)
    assert uv.read_bytes() == b"the program"
    assert uv.stat().st_mode & 0o111
    fail(monkeypatch, AssertionError("fetched again"))
    assert dev.install_uv({"version": "1.2.3"}, wheel, verify=True) == uv


@pytest.mark.parametrize("verify", [True, False])
def test_a_wheel_with_a_wrong_hash_is_refused(checkout: Path, monkeypatch: pytest.MonkeyPatch, verify: bool) -> None:
    data, wheel = wheel_with(b"the program")
    serve(monkeypatch, data + b"!")
    dev.TOOLS.mkdir()
    with pytest.raises(SystemExit, match=r"is not the file that uv\.lock names"):
        dev.install_uv({"version": "1.2.3"}, wheel, verify=verify)
    assert not list(dev.TOOLS.iterdir())


def test_without_a_network_the_message_helps(monkeypatch: pytest.MonkeyPatch) -> None:
    fail(monkeypatch, urllib.error.URLError("Temporary failure in name resolution"))
    with pytest.raises(SystemExit, match=r"cannot fetch .*name resolution.*\n.*run the same command again"):
        dev.fetch(wheel_with(b"")[1], verify=True)


def test_without_a_wheel_a_uv_on_the_path_serves(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    assert dev.install_uv({"version": "1.2.3"}, None, verify=True) == Path("/usr/bin/uv")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(SystemExit, match=r"no build of uv for .*put a uv on PATH"):
        dev.install_uv({"version": "1.2.3"}, None, verify=True)


def test_an_unknown_authority_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    fail(monkeypatch, urllib.error.URLError(ssl.SSLCertVerificationError("unable to get local issuer certificate")))
    with pytest.raises(SystemExit, match=r"of no authority that this machine knows: SSL_CERT_FILE can name"):
        dev.fetch(wheel_with(b"")[1], verify=True)


class Authorities(NamedTuple):
    """A machine's certificate authorities, in Python's words."""

    loaded: int
    capath: Path | None

    def __call__(self) -> Any:
        return self

    def cert_store_stats(self) -> dict[str, int]:
        return {"x509_ca": self.loaded}


@pytest.mark.parametrize(
    ("loaded", "listed", "verify"), [(140, None, True), (0, 3, True), (0, 0, False), (0, None, False)]
)
def test_only_without_authorities_tls_is_unchecked(
    loaded: int, listed: int | None, verify: bool, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = None if listed is None else checkout / "certs"
    if directory is not None:
        directory.mkdir()
        for number in range(listed or 0):
            (directory / f"{number:08x}.0").touch()
    machine = Authorities(loaded, directory)
    monkeypatch.setattr(ssl, "create_default_context", machine)
    monkeypatch.setattr(ssl, "get_default_verify_paths", machine)
    fail(monkeypatch, urllib.error.URLError(ssl.SSLCertVerificationError("self-signed certificate")))
    assert dev.has_authorities() is verify
    asked: list[bool] = []

    def install(package: object, wheel: object, *, verify: bool) -> Path:
        asked.append(verify)
        return Path("/bin/uv")

    (checkout / "uv.lock").write_text((ROOT / "uv.lock").read_text())
    monkeypatch.setattr(dev, "install_uv", install)
    monkeypatch.setattr(dev, "uv_environment", lambda *, verify: {"verify": str(verify)})
    assert dev.prepare_uv() == (Path("/bin/uv"), {"verify": str(verify)})
    assert asked == [verify]


def test_what_ci_builds_and_installs_is_locked() -> None:
    commands = [line for line in (ROOT / ".ci" / "run").read_text().splitlines() if "dev.py uv" in line]
    [build] = [line for line in commands if "uv build" in line]
    assert {"--no-build-isolation", "--offline"} <= set(build.split())
    [install] = [line for line in commands if "tool install" in line]
    assert "--constraints" in install.split()


def test_the_unverified_host_is_of_the_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("UV_INSECURE_HOST", raising=False)
    [host] = {urlsplit(file["url"]).hostname for file in locked_files()}
    assert dev.uv_environment(verify=False)["UV_INSECURE_HOST"] == host
    assert "UV_INSECURE_HOST" not in dev.uv_environment(verify=True)


def test_the_lock_has_one_index_and_every_hash() -> None:
    sources = [package["source"] for package in LOCK["package"] if package["name"] != "dhtd"]
    assert all(source == {"registry": "https://pypi.org/simple"} for source in sources)
    assert all(file["hash"].startswith("sha256:") for file in locked_files())


def locked_files() -> list[dict[str, Any]]:
    packages = LOCK["package"]
    sdists = [package["sdist"] for package in packages if "sdist" in package]
    return sdists + [wheel for package in packages for wheel in package.get("wheels", [])]


def test_a_complete_venv_is_fresh(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_venv(checkout)
    monkeypatch.setattr(dev, "prepare_uv", lambda: pytest.fail("set up again"))
    dev.sync()


def test_a_wanted_group_is_added(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_venv(checkout)
    ran: list[list[str]] = []

    def run(command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
        ran.append(command)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(dev, "prepare_uv", lambda: (Path("/bin/uv"), {}))
    monkeypatch.setattr(subprocess, "run", run)
    dev.sync("bench")
    dev.sync("other")
    wanted = ["--group=bench" in command for command in ran]
    assert wanted == [True] * len(ran)
    assert dev.groups_in(dev.VENV, dev.fingerprint()) == {"bench", "other"}
    ran.clear()
    dev.sync()
    dev.sync("bench")
    assert ran == []


@pytest.mark.parametrize("changed", ["uv.lock", "pyproject.toml", "dhtd/__init__.py"])
def test_a_venv_is_stale_when_its_inputs_change(checkout: Path, changed: str) -> None:
    make_venv(checkout)
    assert dev.groups_in(dev.VENV, dev.fingerprint()) == set()
    (checkout / changed).write_text("edited")
    assert dev.groups_in(dev.VENV, dev.fingerprint()) is None


@pytest.mark.parametrize("lost", ["bin/python", "dev.stamp"])
def test_a_venv_is_stale_when_it_is_incomplete(checkout: Path, lost: str) -> None:
    make_venv(checkout)
    (dev.VENV / lost).unlink()
    assert dev.groups_in(dev.VENV, dev.fingerprint()) is None


def test_a_venv_is_stale_for_another_python(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_venv(checkout)
    monkeypatch.setattr(sys, "version_info", (3, 99, 0))
    assert dev.groups_in(dev.VENV, dev.fingerprint()) is None


def test_a_failed_set_up_leaves_no_stamp(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_venv(checkout)
    (checkout / "uv.lock").write_text("edited")
    monkeypatch.setattr(dev, "prepare_uv", lambda: (Path("/bin/false"), {}))
    with pytest.raises(SystemExit, match=r"could not make \.venv"):
        dev.sync()
    assert not (dev.VENV / "dev.stamp").exists()


@pytest.mark.parametrize("arguments", [(), ("frobnicate",), ("--port", "1")])
def test_a_bad_command_line_gets_the_usage(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert dev.main(*arguments) == 2
    output = capsys.readouterr()
    assert not output.out
    assert "usage: python3 dev.py" in output.err


def test_an_unknown_benchmark_is_named_first(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(dev, "sync", lambda group: pytest.fail(f"fetched {group}"))
    assert dev.main("bench", "lokups") == 2
    assert "unknown benchmark: lokups; there are lookups, memory" in capsys.readouterr().err


def test_help_is_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert dev.main("--help") == 0
    assert "usage: python3 dev.py" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "program"),
    [
        (("run", "--port", "1"), ("dhtd", "start", "--port", "1")),
        (("dht", "info"), ("dht", "info")),
        (("test", "-k", "x"), ("pytest", "-k", "x")),
        (("bench",), ("python", "-m", "tests.bench")),
        (("bench", "--json"), ("python", "-m", "tests.bench", "--json")),
        (("bench", "idle"), ("python", "-m", "tests.bench.idle")),
        (("bench", "amplification"), ("python", "-m", "tests.bench.amplification")),
        (("bench", "flood", "--rate=9"), ("python", "-m", "tests.bench.flood", "--rate=9")),
        (("profile", "ping"), ("python", "-m", "tests.bench.profile", "ping")),
        (("faults", "--sample", "9"), ("python", "-m", "tests.faults", "--sample", "9")),
        (("fuzz", "node"), ("python", "-m", "tests.fuzz", "node")),
        (("soak", "--minutes", "3"), ("python", "-m", "tests.soak", "--minutes", "3")),
    ],
)
def test_a_command_becomes_a_program_of_the_venv(
    arguments: tuple[str, ...], program: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    class BecameError(Exception):
        pass

    def become(*started: str) -> NoReturn:
        raise BecameError(started)

    monkeypatch.chdir(dev.ROOT)
    monkeypatch.setattr(dev, "sync", lambda group: None)
    monkeypatch.setattr(dev, "become", become)
    with pytest.raises(BecameError) as became:
        dev.main(*arguments)
    assert became.value.args == (program,)


@pytest.mark.parametrize(
    ("arguments", "group"),
    [
        (("bench",), "bench"),
        (("bench", "--json"), "bench"),
        (("bench", "amplification"), "bench"),
        (("bench", "flood"), ""),
        (("bench", "--help"), ""),
        (("bench", "amplification", "-h"), ""),
        (("fuzz", "node"), "fuzz"),
        (("fuzz", "--help"), ""),
        (("run",), ""),
    ],
)
def test_other_implementations_are_only_for_bench(
    arguments: tuple[str, ...], group: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []

    def become(*started: str) -> NoReturn:
        raise SystemExit

    monkeypatch.chdir(dev.ROOT)
    monkeypatch.setattr(dev, "sync", synced.append)
    monkeypatch.setattr(dev, "become", become)
    with pytest.raises(SystemExit):
        dev.main(*arguments)
    assert synced == [group]


class Process:
    """Instead of a process: it ends at once, with a report where its output is kept."""

    def __init__(self, run: Callable[[list[object]], int], command: list[object], **streams: Any) -> None:
        self.returncode = run(command)
        if "stdout" in streams:
            streams["stdout"].write(b"its report\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        pass

    def wait(self, timeout: float | None = None) -> int:
        return self.returncode


@pytest.mark.parametrize(("statuses", "status"), [((0, 0), 0), ((1, 0), 1), ((0, 4), 4), ((1, 4), 1)])
def test_every_test_runs_once_and_core_is_covered(
    statuses: tuple[int, int], status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran: list[list[str]] = []

    def pytest(command: list[object]) -> int:
        ran.append([str(argument) for argument in command])
        return statuses[len(ran) - 1]

    monkeypatch.chdir(dev.ROOT)
    monkeypatch.setattr(dev, "sync", lambda group: None)
    monkeypatch.setattr("dev.subprocess.Popen", partial(Process, pytest))
    assert dev.main("test") == status
    assert capsys.readouterr().out == "its report\n"
    measured, others = ({argument for argument in command if "tests/" in argument} for command in ran)
    assert measured == set(dev.COVERING)
    assert others == {f"--ignore={path}" for path in measured}
    assert ["--cov" in command for command in ran] == [True, False]
    assert ran[0][-1] == "--cov"  # a path behind it would name the code to cover


def test_the_tests_run_from_compiled_files(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dev, "sync", lambda group: None)
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.chdir(checkout)
    seen: list[bool] = []

    def pytest(command: list[object]) -> int:
        seen.append("PYTHONDONTWRITEBYTECODE" in os.environ)
        return 0

    monkeypatch.setattr("dev.subprocess.Popen", partial(Process, pytest))
    dev.main("test")
    assert seen == [False, False]


def test_an_old_python_hears_what_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tomllib", None)  # which came with 3.11
    with pytest.raises(SystemExit, match=r"dhtd needs 3\.11 or newer"):
        runpy.run_path(str(Path(dev.__file__)))


def test_the_version_has_one_source() -> None:
    assert importlib.metadata.version("dhtd") == dhtd.__version__
