"""Default places, and forbidden ones."""

import os
import pwd
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import platformdirs
import pytest

from dhtd.config import paths
from dhtd.errors import ConfigError, SocketUnusable


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Be a user with a home directory, and without the variables that move files."""
    for name in list(os.environ):
        if name.startswith("XDG_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


linux_only = pytest.mark.skipif(sys.platform != "linux", reason="platformdirs knows other places elsewhere")


@linux_only
def test_files_lie_where_the_platform_wants_them(home: Path) -> None:
    assert paths.state_file() == home / ".local/state/dhtd/default.db"
    assert paths.state_file("lab") == home / ".local/state/dhtd/lab.db"
    assert paths.user_config() == home / ".config/dhtd/dhtd.toml"
    assert paths.system_config() == Path("/etc/xdg/dhtd/dhtd.toml")


@linux_only
def test_the_variables_of_xdg_are_obeyed(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("state", "config", "runtime", "etc"):
        (home / name).mkdir(mode=0o700)
    monkeypatch.setenv("XDG_STATE_HOME", str(home / "state"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "config"))
    monkeypatch.setenv("XDG_CONFIG_DIRS", f"{home / 'etc'}:/etc/xdg")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(home / "runtime"))
    assert paths.state_file() == home / "state/dhtd/default.db"
    assert paths.user_config() == home / "config/dhtd/dhtd.toml"
    assert paths.system_config() == home / "etc/dhtd/dhtd.toml"
    assert paths.control_socket() == home / "runtime/dhtd/default.sock"


def test_a_socket_has_a_place_without_xdg(home: Path) -> None:
    socket = paths.control_socket("lab")  # and no warning, which would be an error here
    assert socket.name == "lab.sock"
    assert socket.parent.name == "dhtd"
    assert paths.control_socket("lab") == socket


def test_an_unsafe_runtime_directory_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(app: str) -> Path:
        raise PermissionError("runtime directory /tmp/x is owned by another user; set XDG_RUNTIME_DIR instead")

    monkeypatch.setattr(platformdirs, "user_runtime_path", refuse)
    with pytest.raises(SocketUnusable, match=r"no safe place for the control socket: .*another user.*--socket"):
        paths.control_socket()
    assert SocketUnusable.exit_status == 1


@pytest.mark.parametrize("name", ["default", "a", "0", "_", "A.b-c_9", "x" * 64])
def test_a_valid_instance_name_is_accepted(name: str) -> None:
    assert paths.check_instance(name) == name


@pytest.mark.parametrize(
    "name", ["", ".", "..", ".hidden", "-x", "a/b", "a b", "ä", "a\n", "a\0", "x" * 65, "../../etc/passwd", "²"]
)
def test_any_other_instance_name_is_refused(name: str) -> None:
    with pytest.raises(
        ConfigError, match=r"is not an instance name: 1 to 64 of .* not beginning with \. or -"
    ) as caught:
        paths.check_instance(name)
    assert len(str(caught.value)) < 250
    assert "\n" not in str(caught.value)
    assert caught.value.exit_status == 2
    for function in (paths.state_file, paths.control_socket):
        with pytest.raises(ConfigError):
            function(name)


def test_a_socket_path_has_the_kernels_limit() -> None:
    longest = Path("/" + "s" * (paths.SOCKET_PATH_MAX - 1))
    assert paths.check_socket(longest) == longest
    with pytest.raises(SocketUnusable, match=rf"/s+ has {paths.SOCKET_PATH_MAX + 1} bytes, and .*--socket"):
        paths.check_socket(Path(f"{longest}s"))
    with pytest.raises(SocketUnusable):  # bytes count, not characters
        paths.check_socket(Path("/" + "ü" * (paths.SOCKET_PATH_MAX // 2 + 1)))


@linux_only
def test_a_deep_runtime_directory_is_an_error(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = home / ("d" * 100)
    deep.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(deep))
    with pytest.raises(SocketUnusable, match=r"default\.sock has \d+ bytes, and a socket's may have 107: choose a"):
        paths.control_socket()


def test_the_client_loads_no_daemon_paths() -> None:
    script = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from dhtd.config.sources import client_socket\n"
        "client_socket(Path('/run/x.sock'), None, {})\n"
        "client_socket(None, None, {'DHTD_SOCKET': '/run/x.sock'})\n"
        "print(*sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    modules = subprocess.check_output([sys.executable, "-c", script], text=True, env=environment).split()
    assert "dhtd.config.sources" in modules
    assert not {"trio", "sqlite3", "msgpack", "tomllib", "platformdirs", "difflib", "logging"} & set(modules)


# Poor users and machines


@pytest.fixture(params=["rel", "", None])
def homeless(request: pytest.FixtureRequest, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Be a user without an entry in the list of users, and with a false HOME, or none."""
    monkeypatch.setattr(pwd, "getpwuid", lambda uid: {}[uid])
    if request.param is None:
        monkeypatch.delenv("HOME")
    else:
        monkeypatch.setenv("HOME", request.param)


@linux_only
@pytest.mark.usefixtures("homeless")
def test_no_home_means_a_state_file_must_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert paths.user_config() is None
    assert paths.control_socket().name == "default.sock"
    with pytest.raises(ConfigError, match=r"no home directory for the state file: set HOME or XDG_STATE_HOME.*--state"):
        paths.state_file()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert paths.state_file() == tmp_path / "dhtd/default.db"
    assert paths.user_config() == tmp_path / "dhtd/dhtd.toml"


@pytest.mark.parametrize(
    "error", [FileNotFoundError(2, "No usable temporary directory found in ['/tmp']"), RuntimeError("no home")]
)
def test_without_a_temporary_directory_it_fails(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(app: str) -> Path:
        raise error

    monkeypatch.setattr(platformdirs, "user_runtime_path", fail)
    with pytest.raises(SocketUnusable) as caught:
        paths.control_socket()
    reason = error.strerror if isinstance(error, OSError) else error
    assert str(caught.value) == (
        f"no place for the control socket: {reason}; set XDG_RUNTIME_DIR, or name one with --socket"
    )


@linux_only
def test_no_state_file_goes_into_a_foreign_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    us = os.geteuid()
    for owner, is_refused in ((us, False), (0, False), (us + 1, True), (65534, us != 65534)):
        monkeypatch.setattr(paths, "owner", lambda path, owner=owner: owner)
        if is_refused:
            with pytest.raises(ConfigError, match=rf"at user {owner}'s, and this is user {us}: set HOME .*-H.*--state"):
                paths.state_file()
        else:
            assert paths.state_file() == home / ".local/state/dhtd/default.db"


def test_a_missing_path_has_its_parents_owner(home: Path) -> None:
    assert paths.owner(home) == paths.owner(home / "a/b/c") == home.stat().st_uid
    assert paths.owner(Path("/proc/none/of/these")) == Path("/proc").stat().st_uid


@linux_only
def test_a_client_looks_where_daemons_put_sockets(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "runtime").mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(home / "runtime"))
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(home))
    expected = home / "runtime" / "dhtd" / "lab.sock"
    assert paths.find_control_socket("lab") == expected

    other = home / f"runtime-{os.geteuid()}" / "dhtd" / "lab.sock"
    other.parent.mkdir(parents=True)
    other.touch()
    assert paths.find_control_socket("lab") == expected  # that is no socket
    other.unlink()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(other))
    assert paths.find_control_socket("lab") == other
    assert paths.find_control_socket() == expected.with_name("default.sock")
    with monkeypatch.context() as somebody:
        somebody.setattr(os, "geteuid", lambda: 54_321)
        (home / "runtime-54321").symlink_to(other.parent.parent)
        assert paths.find_control_socket("lab") == expected  # and that one is another user's

    expected.parent.mkdir()
    expected.touch()
    assert paths.find_control_socket("lab") == other  # the file in its place is no socket
    expected.unlink()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(expected))
    assert paths.find_control_socket("lab") == expected
