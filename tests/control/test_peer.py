"""Access to the control socket: the daemon's user, root, and the members of its group."""

from __future__ import annotations

import contextlib
import errno
import grp
import os
import pwd
import shutil
import socket
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from dhtd.control import peer, server
from dhtd.control.limits import ControlCounters
from dhtd.control.peer import Peer, group_id, groups_by_database, peer_of, supplementary_groups
from dhtd.errors import ConfigError
from tests.control import serving as served
from tests.control.serving import NODE_ID, serving
from tests.control.users import NOBODY, only_root, other_user, seem_other_user

GROUP, OTHER_GROUP = 54_321, 54_322  # that this machine need not know


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """A directory that every user can enter."""
    directory = Path(tempfile.mkdtemp())
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


def connect_as(path: Path, gid: int | None = None, groups: Sequence[int] = ()) -> served.Peer:
    """Connect as nobody in these groups, if we are root."""
    raw = socket.socket(socket.AF_UNIX)
    try:
        with other_user(NOBODY, gid, groups):
            raw.connect(str(path))
    except PermissionError:
        raw.close()
        raise
    raw.setblocking(False)
    return served.Peer(trio.SocketStream(trio.socket.from_stdlib_socket(raw)))


async def test_another_user_is_refused(
    autojump_clock: MockClock, open_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(open_directory) as daemon:
        daemon.path.chmod(0o666)
        stranger = connect_as(daemon.path)
        with contextlib.nullcontext() if os.geteuid() == 0 else seem_other_user(monkeypatch):
            assert await stranger.code() == "socket-forbidden"
        assert await stranger.rest() == b""
        await stranger.stream.aclose()
        ours = await daemon.peer()
        await ours.send(NODE_ID + b"\n")
        assert "result" in await ours.line()
        assert daemon.counters == ControlCounters(control_forbidden=1)


@only_root
@pytest.mark.parametrize(
    ("gid", "groups"), [(GROUP, []), (NOBODY, [GROUP]), (NOBODY, [OTHER_GROUP, GROUP])], ids=["primary", "one", "last"]
)
async def test_a_group_member_is_served_by_any_group(
    autojump_clock: MockClock, open_directory: Path, gid: int, groups: list[int]
) -> None:
    async with serving(open_directory, group=str(GROUP)) as daemon:
        member = connect_as(daemon.path, gid, groups)
        await member.send(NODE_ID + b"\n")
        assert "result" in await member.line()
        await member.stream.aclose()


@only_root
@pytest.mark.parametrize(("gid", "groups"), [(NOBODY, []), (OTHER_GROUP, [OTHER_GROUP]), (0, [0])])
async def test_non_members_cannot_connect(
    autojump_clock: MockClock, open_directory: Path, gid: int, groups: list[int]
) -> None:
    async with serving(open_directory, group=str(GROUP)) as daemon:
        with pytest.raises(PermissionError):
            connect_as(daemon.path, gid, groups)
        daemon.path.chmod(0o666)
        stranger = connect_as(daemon.path, gid, groups)
        assert await stranger.code() == "socket-forbidden"
        await stranger.stream.aclose()


@only_root
async def test_without_a_group_nobody_s_groups_count(autojump_clock: MockClock, open_directory: Path) -> None:
    async with serving(open_directory) as daemon:
        daemon.path.chmod(0o666)
        stranger = connect_as(daemon.path, 0, [0, GROUP])
        assert await stranger.code() == "socket-forbidden"
        await stranger.stream.aclose()


@only_root
@pytest.mark.parametrize(("known", "code"), [({NOBODY, GROUP}, None), ({NOBODY}, "socket-forbidden")])
async def test_the_database_fills_the_kernels_gaps(
    open_directory: Path, monkeypatch: pytest.MonkeyPatch, known: set[int], code: str | None
) -> None:
    asked = []

    def groups_of(who: Peer) -> frozenset[int]:
        asked.append(who)
        return frozenset(known)

    monkeypatch.setattr(peer, "_SO_PEERGROUPS", None)
    monkeypatch.setattr(server, "groups_by_database", groups_of)
    async with serving(open_directory, group=str(GROUP)) as daemon:
        daemon.path.chmod(0o666)
        member = connect_as(daemon.path, NOBODY, [])
        await member.send(NODE_ID + b"\n")
        answer = await member.line()
        assert answer["error"]["code"] == code if code else "result" in answer
        await member.stream.aclose()
    assert asked == [(NOBODY, NOBODY)]


async def test_without_peer_credentials_the_modes_guard(
    autojump_clock: MockClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(socket, "SO_PEERCRED", raising=False)
    async with serving(tmp_path) as daemon:
        peer = await daemon.peer()
        await peer.send(NODE_ID + b"\n")
        assert "result" in await peer.line()


@pytest.fixture
def pair() -> Iterator[socket.socket]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours


@pytest.mark.skipif(not hasattr(socket, "SO_PEERCRED"), reason="this kernel does not tell who connects")
def test_the_kernel_tells_user_and_groups(pair: socket.socket) -> None:
    assert peer_of(pair) == (os.geteuid(), os.getegid())
    if peer._SO_PEERGROUPS is not None:
        assert supplementary_groups(pair) == frozenset(os.getgroups())


@only_root
def test_too_many_groups_are_not_cut_silently() -> None:
    with other_user(NOBODY, NOBODY, range(1_000, 1_257)):
        ours, theirs = socket.socketpair()
    with ours, theirs:
        assert supplementary_groups(ours) is None
    with other_user(NOBODY, NOBODY, range(1_000, 1_256)):
        ours, theirs = socket.socketpair()
    with ours, theirs:
        assert supplementary_groups(ours) == frozenset(range(1_000, 1_256))


def test_an_old_kernel_tells_no_groups() -> None:
    class Old:
        def getsockopt(self, level: int, optname: int, buflen: int) -> bytes:
            raise OSError(errno.ENOPROTOOPT, os.strerror(errno.ENOPROTOOPT))

    assert supplementary_groups(Old()) is None


def test_the_database_tells_a_users_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    user = pwd.getpwuid(os.geteuid())
    assert groups_by_database(Peer(user.pw_uid, 7)) == set(os.getgrouplist(user.pw_name, 7)) >= {7}
    members = {user.pw_name: [11, 12]}  # whatever groups the user of this test run is in
    monkeypatch.setattr(os, "getgrouplist", lambda name, gid: [gid, *members[name]])
    assert groups_by_database(Peer(user.pw_uid, 7)) == {7, 11, 12}
    assert groups_by_database(Peer(4_000_000_000, 7)) == {7}


def test_a_group_is_given_by_name_or_number() -> None:
    known = grp.getgrgid(os.getegid())
    assert group_id(known.gr_name) == known.gr_gid
    assert group_id("54321") == 54_321


@pytest.mark.parametrize("group", ["no-such-group", "4294967295", "99999999999", "-1", "²"])
def test_an_unknown_group_is_an_error_with_a_hint(group: str) -> None:
    with pytest.raises(ConfigError, match=r"there is no group .*groupadd.*--socket-group"):
        group_id(group)
