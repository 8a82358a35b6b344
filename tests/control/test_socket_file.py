"""The control socket's file: its place, its owner, and what it never replaces."""

from __future__ import annotations

import errno
import fcntl
import grp
import os
import shutil
import socket
import stat
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dhtd.control import socket_file
from dhtd.control.socket_file import ControlSocket
from dhtd.errors import ConfigError, SocketInUse, SocketUnusable
from tests.control.users import NOBODY, only_root, other_user


def test_the_socket_is_private_under_any_umask(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "sock"
    before = os.umask(0)
    try:
        with ControlSocket(path):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
            assert os.umask(0) == 0
    finally:
        os.umask(before)


def test_a_directory_that_is_there_keeps_its_mode(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    with ControlSocket(tmp_path / "sock"):
        assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755


def test_the_socket_is_removed_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "sock"
    with ControlSocket(path) as control:
        assert stat.S_ISSOCK(path.stat().st_mode)
    assert not path.exists()
    assert control.listening.fileno() == -1


def test_a_socket_that_was_removed_is_not_missed(tmp_path: Path) -> None:
    with ControlSocket(tmp_path / "sock"):
        (tmp_path / "sock").unlink()


def test_a_foreign_file_at_the_socket_stays(tmp_path: Path) -> None:
    path = tmp_path / "sock"
    with ControlSocket(path):
        path.unlink()
        path.write_text("somebody else's")
    assert path.read_text() == "somebody else's"


def test_a_newer_socket_with_the_same_inode_stays(tmp_path: Path) -> None:
    path = tmp_path / "sock"
    with ControlSocket(path) as first:
        first.listening.close()
        path.unlink()
        second = ControlSocket(path)
    assert path.exists()
    second.__exit__(None, None, None)
    assert not path.exists()


def test_a_stale_socket_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with ControlSocket(path), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


def test_the_socket_of_a_living_daemon_stays(tmp_path: Path) -> None:
    path = tmp_path / "sock"
    with ControlSocket(path):
        with pytest.raises(SocketInUse, match="--instance"):
            ControlSocket(path)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))


def test_the_socket_of_a_busy_daemon_stays(tmp_path: Path) -> None:
    path = tmp_path / "sock"
    with socket.socket(socket.AF_UNIX) as busy, socket.socket(socket.AF_UNIX) as client:
        busy.bind(str(path))
        busy.listen(0)
        client.connect(str(path))
        with pytest.raises(SocketInUse):
            ControlSocket(path)
    assert path.exists()


@pytest.mark.parametrize("kind", ["file", "directory", "link", "fifo"])
def test_what_is_no_socket_is_left_alone(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "sock"
    match kind:
        case "file":
            path.write_text("precious")
        case "directory":
            path.mkdir()
        case "link":
            path.symlink_to(tmp_path / "nowhere")
        case _:
            os.mkfifo(path)
    before = path.lstat()
    with pytest.raises(SocketUnusable, match="in the way"):
        ControlSocket(path)
    assert path.lstat() == before


def test_a_datagram_socket_in_the_way_stays(tmp_path: Path) -> None:
    path = tmp_path / "sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind(str(path))
        with pytest.raises(SocketUnusable):
            ControlSocket(path)
    assert path.exists()


def test_a_path_that_is_too_long_is_said_to_be(tmp_path: Path) -> None:
    with pytest.raises(SocketUnusable, match=r"too long.*--socket"):
        ControlSocket(tmp_path / ("x" * 120))


def test_a_file_as_parent_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SocketUnusable, match="--socket"):
        ControlSocket(tmp_path / "file" / "sock")


def test_an_unwritable_directory_is_an_error() -> None:
    directory = Path(tempfile.mkdtemp())
    try:
        directory.chmod(0o555)
        with other_user(), pytest.raises(SocketUnusable, match=r"Permission denied.*--socket"):
            ControlSocket(directory / "sock")
    finally:
        directory.chmod(0o700)
        shutil.rmtree(directory)


# Its place


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory below a sticky one like /tmp, with a mode that a test may change."""
    directory = Path(tempfile.mkdtemp())
    yield directory
    directory.chmod(0o700)
    shutil.rmtree(directory)


def test_a_linked_directory_is_refused(place: Path) -> None:
    (place / "real").mkdir(mode=0o700)
    (place / "link").symlink_to(place / "real")
    with pytest.raises(SocketUnusable, match=f"symbolic link.* --socket {place.resolve()}/real/sock$"):
        ControlSocket(place / "link" / "sock")
    assert list((place / "real").iterdir()) == []


def test_a_link_of_ours_farther_up_does_no_harm(place: Path) -> None:
    (place / "real").mkdir(mode=0o700)
    (place / "link").symlink_to(place / "real")
    with ControlSocket(place / "link" / "inner" / "sock"):
        assert (place / "real" / "inner" / "sock").is_socket()


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o720, 0o702])
def test_a_writable_directory_is_refused(place: Path, mode: int) -> None:
    place.chmod(mode)
    with pytest.raises(
        SocketUnusable, match=rf"others may write \(mode {mode:04o}\).*: chmod go-w {place}, or .*--soc"
    ):
        ControlSocket(place / "sock")
    assert list(place.iterdir()) == []


def test_a_shared_directory_gets_advice(place: Path) -> None:
    place.chmod(0o1777)
    with pytest.raises(SocketUnusable, match=f"a directory of its own, as --socket {place}/dhtd/sock$"):
        ControlSocket(place / "sock")
    with ControlSocket(place / "dhtd" / "sock"):
        assert stat.S_IMODE((place / "dhtd").stat().st_mode) == 0o700


def test_only_sticky_shared_ancestors_pass(place: Path) -> None:
    (place / "inner").mkdir(mode=0o700)
    place.chmod(0o777)
    with pytest.raises(SocketUnusable, match=f"would lie in {place}, where others may write"):
        ControlSocket(place / "inner" / "sock")
    place.chmod(0o1777)
    with ControlSocket(place / "inner" / "sock"):
        pass


def test_a_link_below_a_writable_one_is_refused(place: Path) -> None:
    (place / "open" / "inner").mkdir(parents=True, mode=0o700)
    (place / "open").chmod(0o777)
    (place / "link").symlink_to(place / "open" / "inner")
    with pytest.raises(SocketUnusable, match=f"would lie in {place.resolve()}/open, where others may write"):
        ControlSocket(place / "link" / "made" / "sock")


@only_root
@pytest.mark.parametrize("where", ["itself", "above", "link"])
def test_a_directory_of_another_user_is_refused(place: Path, where: str) -> None:
    """Also above, or as a link on the way: its owner could replace the directories below."""
    directory = {"itself": place, "above": place / "inner", "link": place / "link" / "inner"}[where]
    if where == "link":
        (place / "real").mkdir(mode=0o700)
        (place / "link").symlink_to(place / "real")
    directory.mkdir(mode=0o700, exist_ok=True)
    foreign = place / "link" if where == "link" else place
    os.chown(foreign, NOBODY, NOBODY, follow_symlinks=False)
    try:
        with pytest.raises(SocketUnusable, match=f"{foreign}, which belongs to user {NOBODY}.*--socket"):
            ControlSocket(directory / "sock")
        assert list(directory.iterdir()) == []
    finally:
        os.chown(foreign, 0, 0, follow_symlinks=False)


@only_root
def test_roots_directory_will_do_for_a_lone_user(place: Path) -> None:
    place.chmod(0o755)
    (place / "ours").mkdir(mode=0o700)
    os.chown(place / "ours", NOBODY, NOBODY)
    with other_user():
        with ControlSocket(place / "ours" / "sock"):
            pass
        with pytest.raises(SocketUnusable, match="Permission denied"):
            ControlSocket(place / "sock")


def test_new_directories_are_private(place: Path) -> None:
    before = os.umask(0)
    try:
        with ControlSocket(place / "a" / "b" / "sock"):
            assert [stat.S_IMODE((place / name).stat().st_mode) for name in ("a", "a/b")] == [0o700, 0o700]
    finally:
        os.umask(before)


def test_a_directory_made_meanwhile_is_checked(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def mkdir(self: Path, mode: int) -> None:
        os.mkdir(self, 0o700)  # noqa: PTH102 - which the other one does
        self.chmod(0o777)
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))

    monkeypatch.setattr(Path, "mkdir", mkdir)
    with pytest.raises(SocketUnusable, match="others may write"):
        ControlSocket(place / "late" / "sock")


def test_the_socket_is_never_open_to_others(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that connects between bind(2) and a chmod(2) would be in."""
    modes = []
    listen = socket.socket.listen

    class Watched(socket.socket):
        def bind(self, address: str) -> None:  # type: ignore[override]
            super().bind(address)
            modes.append(stat.S_IMODE(os.stat(address).st_mode))  # noqa: PTH116

    monkeypatch.setattr(socket, "socket", Watched)
    before = os.umask(0)
    try:
        with ControlSocket(place / "sock"):
            pass
    finally:
        os.umask(before)
    assert modes == [0o600]
    assert listen is socket.socket.listen


# A group's


@only_root
def test_a_group_gets_0660_and_0710(place: Path) -> None:
    place.chmod(0o755)
    with ControlSocket(place / "dhtd" / "sock", "54321") as control:
        for path, mode in ((place / "dhtd", 0o710), (place / "dhtd" / "sock", 0o660)):
            status = path.stat()
            assert (stat.S_IMODE(status.st_mode), status.st_gid, status.st_uid) == (mode, 54_321, 0)
        assert (control.group, control.notice) == (54_321, None)


def test_the_users_own_group_needs_no_privilege(place: Path) -> None:
    with ControlSocket(place / "sock", grp.getgrgid(os.getegid()).gr_name):
        assert stat.S_IMODE((place / "sock").stat().st_mode) == 0o660


@only_root
def test_the_group_is_set_before_the_mode(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    chown = os.chown

    def watched(path: Path, uid: int, gid: int, *, follow_symlinks: bool) -> None:
        seen.append(stat.S_IMODE(path.lstat().st_mode))
        chown(path, uid, gid, follow_symlinks=follow_symlinks)

    monkeypatch.setattr(os, "chown", watched)
    before = os.umask(0)
    try:
        with ControlSocket(place / "dhtd" / "sock", "54321"):
            pass
    finally:
        os.umask(before)
    assert seen == [0o700, 0o600]


def test_an_old_directory_keeps_its_mode(place: Path) -> None:
    group = str(os.getegid())
    with ControlSocket(place / "sock", group) as control:
        assert stat.S_IMODE(place.stat().st_mode) == 0o700
        assert control.notice is not None
        assert f"chgrp {group} {place.resolve()}; chmod g+x {place.resolve()}" in control.notice
    place.chmod(0o710)
    with ControlSocket(place / "sock", group) as control:
        assert control.notice is None


def test_an_unknown_group_leaves_nothing_behind(place: Path) -> None:
    with pytest.raises(ConfigError, match="there is no group 'no-such-group'"):
        ControlSocket(place / "dhtd" / "sock", "no-such-group")
    assert list(place.iterdir()) == []


@pytest.mark.parametrize("directory", [".", "dhtd"])
def test_a_foreign_group_leaves_nothing_behind(place: Path, directory: str) -> None:
    if os.geteuid() == 0:
        os.chown(place, NOBODY, NOBODY)
    try:
        with (
            other_user(groups=[]),
            pytest.raises(SocketUnusable, match=r"group 54321: user \d+, .* is not in it\..*-aG"),
        ):
            ControlSocket(place / directory / "sock", "54321")
        assert list(place.iterdir()) == []
    finally:
        if os.geteuid() == 0:
            os.chown(place, 0, 0)


# Two daemons at once


def test_one_of_many_starts_replaces_the_socket(
    place: Path,
) -> None:
    """Each has seen that the socket is stale before any of them makes its own: without turns, the last one wins."""
    for _ in range(20):
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(place / "sock"))
        many = 4
        barrier = threading.Barrier(many)
        outcomes: list[ControlSocket | SocketInUse] = []

        def start(barrier: threading.Barrier = barrier, outcomes: list[ControlSocket | SocketInUse] = outcomes) -> None:
            barrier.wait()
            try:
                outcomes.append(ControlSocket(place / "sock"))
            except SocketInUse as error:
                outcomes.append(error)

        threads = [threading.Thread(target=start) for _ in range(many)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        [winner] = [outcome for outcome in outcomes if isinstance(outcome, ControlSocket)]
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(place / "sock"))
        winner.__exit__(None, None, None)


def test_a_held_directory_lock_stops_no_start(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everybody can lock a directory that they can read."""
    paused: list[float] = []
    monkeypatch.setattr(time, "sleep", paused.append)
    held = os.open(place, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        with ControlSocket(place / "sock"):
            pass
    finally:
        os.close(held)
    assert sum(paused) == pytest.approx(socket_file._TURN_WAIT)


def test_a_file_system_without_locks_will_do(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)
    with ControlSocket(place / "sock"):
        pass


# A socket that somebody has removed


def test_a_removed_or_replaced_socket_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "dhtd" / "sock"
    with ControlSocket(path) as control:
        seen = [control.is_lost]
        path.touch()  # changes nothing that matters
        seen.append(control.is_lost)
        path.rename(tmp_path / "away")
        seen.append(control.is_lost)
        path.touch()
        seen.append(control.is_lost)
        path.unlink()
        (tmp_path / "away").rename(path)
        seen.append(control.is_lost)
        shutil.rmtree(path.parent)
        seen.append(control.is_lost)
    assert seen == [False, False, True, True, False, True]


def test_a_lost_socket_is_made_again(tmp_path: Path) -> None:
    path = tmp_path / "dhtd" / "sock"
    with ControlSocket(path) as control:
        first = control.listening
        shutil.rmtree(path.parent)
        control.renew()
        assert not control.is_lost
        assert path.parent.stat().st_mode & 0o777 == 0o700
        assert path.stat().st_mode & 0o777 == 0o600
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
        first.close()
    assert not path.exists()


def test_a_failed_remake_keeps_the_old_socket(tmp_path: Path) -> None:
    path = tmp_path / "dhtd" / "sock"
    with ControlSocket(path) as control:
        first = control.listening
        path.unlink()
        path.write_text("precious")
        with pytest.raises(SocketUnusable, match="in the way"):
            control.renew()
        assert control.listening is first
    assert path.read_text() == "precious"


def test_remaking_a_socket_waits_for_nobody(tmp_path: Path) -> None:
    path = tmp_path / "dhtd" / "sock"
    with ControlSocket(path) as control:
        first = control.listening
        path.unlink()
        descriptor = os.open(path.parent, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            control.renew()
        finally:
            os.close(descriptor)
        first.close()
        assert not control.is_lost
