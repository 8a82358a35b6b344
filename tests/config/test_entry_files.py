"""Files that declare entries: a sound one is read whole, and a bad one is left out whole, with the place in it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dhtd.config import entry_files, paths
from dhtd.config.entry_files import Declared, read
from dhtd.core.ids import MAINLINE, NATIVE, Keyspace
from dhtd.errors import ConfigError, UsageError

ID = "ab" * 32
KEY = NATIVE.parse(ID)
WIKI = NATIVE.digest(b"wiki")
SOUND = '[[entry]]\nname = "wiki"\nport = 80\n'


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    directory = tmp_path / "entries.d"
    directory.mkdir(mode=0o755)
    return directory


def put(directory: Path, name: str, text: str | bytes, mode: int = 0o644) -> str:
    path = directory / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    path.chmod(mode)
    return str(path)


def check_of(text: str, every: float | None) -> object:
    if text == "udp":
        raise UsageError(f"no check: {text}")
    return text, every


def broken(directory: Path) -> dict[str, str]:
    """Return the reasons, without the paths of the files that they begin with."""
    found = read(directory, check_of).broken
    assert all(str(error).startswith(path) and "\n" not in str(error) for path, error in found.items())
    return {Path(path).name: str(error).removeprefix(path) for path, error in found.items()}


def test_a_file_declares_entries_by_name_or_id(directory: Path) -> None:
    text = f'{SOUND}[[entry]]\nid = "{ID}"\nport = 22\n[[entry]]\nid = "{ID}"\nname = "cafe\u0301"\nport = 23\n'
    path = put(directory, "a.toml", text)
    assert read(directory, check_of).entries == {
        path: [Declared(WIKI, 80, "wiki"), Declared(KEY, 22, None), Declared(KEY, 23, "caf\xe9")]
    }


def test_ids_are_those_of_the_network(directory: Path) -> None:
    path = put(directory, "a.toml", f'{SOUND}[[entry]]\nid = "{ID[:40]}"\nport = 22\n')
    assert read(directory, check_of, MAINLINE).entries == {
        path: [Declared(MAINLINE.digest(b"wiki"), 80, "wiki"), Declared(MAINLINE.parse(ID[:40]), 22, None)]
    }


@pytest.mark.parametrize(
    ("keyspace", "id", "network"), [(NATIVE, ID[:40], "mainline"), (MAINLINE, ID, "native")], ids=["native", "mainline"]
)
def test_an_id_of_another_network_is_refused(directory: Path, keyspace: Keyspace, id: str, network: str) -> None:
    path = put(directory, "a.toml", f'[[entry]]\nid = "{id}"\nport = 22\n')
    error = str(read(directory, check_of, keyspace).broken[path])
    assert f"entry 1 (line 1): id: an ID is {2 * keyspace.width} hex digits" in error
    assert f"{len(id)} digits are an ID of the {network} network, so declare it to a daemon of that network" in error


def test_a_check_is_read_with_its_interval(directory: Path) -> None:
    text = f'{SOUND}check = "tcp"\nevery = 0.5\n{SOUND.replace("80", "81")}check = "http://[::1]/"\n'
    path = put(directory, "a.toml", text)
    assert [each.check for each in read(directory, check_of).entries[path]] == [("tcp", 0.5), ("http://[::1]/", None)]


def test_files_are_read_in_the_order_of_names(directory: Path) -> None:
    for name in ("b.toml", "a.toml", "c.toml", ".hidden.toml", "d.toml~", "e.txt"):
        put(directory, name, "")
    assert [Path(path).name for path in read(directory, check_of).entries] == ["a.toml", "b.toml", "c.toml"]


def test_without_a_directory_nothing_is_declared(tmp_path: Path) -> None:
    assert read(tmp_path / "none", check_of) == entry_files.EntryFiles()


BAD: dict[str, tuple[str | bytes, str]] = {
    "no TOML": ("[[entry]\n", " is not TOML: Expected ']]' at the end of an array declaration (at line 1, column 8)"),
    "no UTF-8": (b"# \xff\n", " is not UTF-8 (line 1, byte 3)"),
    "another key": ("port = 80\n", ": unknown key 'port'; a file has tables [[entry]]"),
    "one table": ('[entry]\nname = "wiki"\n', ": entry must be an array of tables: write [[entry]]"),
    "no table": ("entry = [5]\n", ": entry must be an array of tables: write [[entry]]"),
    "an unknown key": (
        f"{SOUND}prot = 5\n",
        ", entry 1 (line 1): unknown key 'prot'; the keys are name, id, port, check",
    ),
    "no name": ("\n[[entry]]\nport = 80\n", ", entry 1 (line 2): it has no name, and no id"),
    "no port": (f'{SOUND}\n[[entry]]\nname = "x"\n', ", entry 2 (line 5): it has no port"),
    "an odd table": ('entry = [{name = "wiki"}]\n', ", entry 1: it has no port"),
    "a bad port": (SOUND.replace("80", "0"), ", entry 1 (line 1): port: 0 is not a port: a number from 1 to 65535"),
    "a port as text": (SOUND.replace("80", '"80"'), "port: must be an integer from 1 to 65535, not '80'"),
    "a port that is true": (SOUND.replace("80", "true"), "port: must be an integer from 1 to 65535, not True"),
    "a name of 300": (SOUND.replace("wiki", 300 * "w"), "has 300 characters, and a name has 255 at most"),
    "a name of lines": (SOUND.replace("wiki", r"a\nb"), r"name: the name 'a\nb' has the control character '\n'"),
    "an empty name": (SOUND.replace("wiki", ""), "name: the name is empty"),
    "a name as number": (SOUND.replace('"wiki"', "5"), "name: must be a string, not 5"),
    "a bad ID": ('[[entry]]\nid = "abc"\nport = 5\n', "id: an ID is 64 hex digits, and 'abc' has 3 characters"),
    "a bad check": (f'{SOUND}check = "udp"\n', ", entry 1 (line 1): check: no check: udp"),
    "a check as number": (f"{SOUND}check = 5\n", "check: must be a string, not 5"),
    "a bad pause": (f'{SOUND}check = "tcp"\nevery = 0\n', "every: must be a number of seconds above 0, not 0"),
    "a pause as text": (f'{SOUND}every = "5"\n', "every: must be a number of seconds above 0, not '5'"),
    "a pause that is true": (
        f'{SOUND}check = "tcp"\nevery = true\n',
        "every: must be a number of seconds above 0, not True",
    ),
    "a pause alone": (f"{SOUND}every = 5\n", "every: there is no check that it is for"),
    "too long": (b"#" * (1 << 20) + b"#", " is longer than 1048576 bytes"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_left_out_with_its_place(directory: Path, case: str) -> None:
    text, reason = BAD[case]
    sound = put(directory, "b.toml", SOUND.replace("80", "81"))
    put(directory, "a.toml", text)
    assert list(read(directory, check_of).entries) == [sound]
    [(name, why)] = broken(directory).items()
    assert name == "a.toml"
    assert reason in why


OTHERWISE: dict[str, tuple[str, str, str]] = {
    "another name": (
        f'[[entry]]\nid = "{ID}"\nname = "one"\nport = 80\n',
        f'{SOUND}[[entry]]\nid = "{ID}"\nname = "two"\nport = 81\n',
        ", entry 2 (line 4): the ID of two has the name one in ",
    ),
    "a name for another ID": (
        f'[[entry]]\nid = "{NATIVE.format(WIKI)}"\nname = "blog"\nport = 80\n',
        SOUND,
        ", entry 1 (line 1): the ID of wiki has the name blog in ",
    ),
    "another check": (
        SOUND,
        f'{SOUND}check = "tcp"\n',
        ", entry 1 (line 1): wiki port 80 is declared otherwise in ",
    ),
    "no name": (
        f'[[entry]]\nid = "{ID}"\nname = "one"\nport = 80\n',
        f'[[entry]]\nid = "{ID}"\nport = 80\n',
        f", entry 1 (line 1): {ID} port 80 is declared otherwise in ",
    ),
}


@pytest.mark.parametrize("case", OTHERWISE)
def test_the_second_of_two_that_contradict_is_out(directory: Path, case: str) -> None:
    first, second, reason = OTHERWISE[case]
    one = put(directory, "a.toml", first)
    put(directory, "b.toml", second)
    last = put(directory, "c.toml", '[[entry]]\nname = "other"\nport = 80\n')
    assert list(read(directory, check_of).entries) == [one, last]
    assert broken(directory) == {"b.toml": f"{reason}{one}"}


def test_a_file_may_contradict_itself(directory: Path) -> None:
    put(directory, "a.toml", "".join(OTHERWISE["another name"][:2]))
    assert broken(directory) == {"a.toml": ", entry 3 (line 8): the ID of two has the name one above"}


def test_the_same_twice_is_no_contradiction(directory: Path) -> None:
    for name in ("a.toml", "b.toml"):
        put(directory, name, SOUND + SOUND)
    assert (len(read(directory, check_of).entries), broken(directory)) == (2, {})


@pytest.mark.parametrize("mode", [0o666, 0o664, 0o602])
def test_a_file_that_others_can_write_is_left_out(directory: Path, mode: int) -> None:
    put(directory, "a.toml", SOUND, mode)
    assert broken(directory) == {"a.toml": f" can be written by others, mode {mode:04o}: chmod go-w it"}


def owned_by(monkeypatch: pytest.MonkeyPatch, owner: int, user: int) -> None:
    """Have files belong to `owner` and their directory to root, for a daemon of `user`."""
    real = os.fstat

    def status(descriptor: int) -> os.stat_result:
        return os.stat_result([*real(descriptor)[:4], owner, *real(descriptor)[5:10]])

    monkeypatch.setattr(os, "geteuid", lambda: user)
    monkeypatch.setattr(os, "fstat", status)
    monkeypatch.setattr(Path, "stat", lambda path, **_: os.stat_result((0o40755, 0, 0, 0, 0, 0, 0, 0, 0, 0)))


def test_somebody_elses_file_is_left_out(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(directory, "a.toml", SOUND)
    owned_by(monkeypatch, 1_234, 4_321)
    [why] = broken(directory).values()
    assert "belongs to the user with ID 1234, and must belong to root or to the user with ID 4321" in why


@pytest.mark.parametrize("owner", [0, 4_321])
def test_root_s_files_and_one_s_own_count(directory: Path, monkeypatch: pytest.MonkeyPatch, owner: int) -> None:
    path = put(directory, "a.toml", SOUND)
    owned_by(monkeypatch, owner, 4_321)
    assert list(read(directory, check_of).entries) == [path]


def test_no_file_is_left_open(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in (("a.toml", SOUND), ("b.toml", "[[entry]"), ("c.toml", 'entry = [{name = "x", port = 5}]')):
        put(directory, name, text)
    put(directory, "d.toml", SOUND, 0o666)
    opened: list[int] = []
    really_open, really_close = os.open, os.close

    def note_open(*arguments: object) -> int:
        opened.append(really_open(*arguments))  # type: ignore[arg-type]
        return opened[-1]

    def note_close(descriptor: int) -> None:
        opened.remove(descriptor)
        really_close(descriptor)

    monkeypatch.setattr(os, "open", note_open)
    monkeypatch.setattr(os, "close", note_close)
    assert len(read(directory, check_of).entries) == 2
    assert opened == []


def test_what_is_no_file_is_left_out(directory: Path) -> None:
    os.mkfifo(directory / "a.toml", 0o600)
    (directory / "b.toml").mkdir(mode=0o755)
    (directory / "c.toml").symlink_to(directory / "none")
    assert broken(directory) == {
        "a.toml": " is not a regular file",
        "b.toml": " is not a regular file",
        "c.toml": " cannot be read: No such file or directory",
    }


def test_a_directory_that_others_can_write_counts_not(directory: Path) -> None:
    put(directory, "a.toml", SOUND)
    directory.chmod(0o777)
    with pytest.raises(ConfigError, match=r"entries\.d can be written by others, mode 0777: chmod go-w it$"):
        read(directory, check_of)


def test_a_directory_that_is_none_says_so(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("")
    path.chmod(0o600)
    with pytest.raises(ConfigError, match="file cannot be read: Not a directory"):
        read(path, check_of)


def test_each_user_has_a_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(paths, "user_config", lambda: tmp_path / "dhtd" / "dhtd.toml")
    assert paths.entries() == tmp_path / "dhtd" / "entries.d"
    monkeypatch.setattr(paths, "user_config", lambda: None)
    assert paths.entries() == Path("/etc/dhtd/entries.d")
