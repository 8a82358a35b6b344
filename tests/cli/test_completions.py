"""TAB in the real shells, loaded as users load completions, with real daemons to ask."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from dhtd.cli.completion import scripts as completion_scripts
from dhtd.cli.completion.scripts import PROGRAMS, scripts
from tests.cli.conftest import Run
from tests.cli.shells import PROMPT, Shell
from tests.e2e.daemons import BIN, DEADLINE, Daemon, Network

COMPLETIONS = Path(__file__).parents[2] / "completions"
ID = "5ae9f0" + "17" * 29
PORT = 31_729
COMMANDS = [
    "ping",
    "enter",
    "delete",
    "lookup",
    "info",
    "status",
    "node-id",
    "bootstrap",
    "backup",
    "find-node",
    "find-value",
    "store",
    "completion",
]


def test_the_committed_scripts_are_up_to_date() -> None:
    found = {path.name: path.read_text(encoding="utf-8") for path in COMPLETIONS.iterdir()}
    assert found == scripts(), "run python -m dhtd.cli.completion.scripts completions"


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("shell", completion_scripts.SHELLS)
def test_each_program_prints_its_scripts(program: str, shell: str, request: pytest.FixtureRequest) -> None:
    run: Run = request.getfixturevalue(program)
    text = (COMPLETIONS / completion_scripts.SHELLS[shell][0].format(program)).read_text(encoding="utf-8")
    assert run("completion", shell) == (0, text, "")
    for arguments in (["completion", shell, "--json"], ["--json", "completion", shell]):
        assert run(*arguments).body == {"shell": shell, "script": text}
    refused = run("completion", "ksh")
    assert (refused.status, refused.err) == (2, f"{program}: 'ksh' is none of bash, zsh, fish\n")


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    with Network() as network:
        first, second = network.start(2)
        network.dht(first, "bootstrap", second.endpoint)
        network.dht(first, "enter", ID, str(PORT))
        yield network


@pytest.fixture(scope="module")
def daemon(network: Network) -> Daemon:
    return network.daemons[0]


def _bash(home: Path, load: str) -> list[str]:
    rc = home / "bashrc"
    rc.write_text(f"PS1='{PROMPT}'\nbind 'set bell-style none' 'set show-all-if-ambiguous on'\n{load}")
    return ["bash", "--noprofile", "--rcfile", str(rc), "-i"]


def _bash_sourced(home: Path, env: dict[str, str]) -> list[str]:
    return _bash(home, f". {COMPLETIONS}/dht.bash\n. {COMPLETIONS}/dhtd.bash\n")


def _bash_lazy(home: Path, env: dict[str, str]) -> list[str]:
    """Load as bash-completion does: a file of the command's name, sourced at the first TAB."""
    directory = home / "share" / "bash-completion" / "completions"
    directory.mkdir(parents=True)
    for program in ("dht", "dhtd"):
        shutil.copy(COMPLETIONS / f"{program}.bash", directory / program)
    return _bash(home, f'_load() {{ . "{directory}/$1" && return 124; }}\ncomplete -D -F _load\n')


def _zsh(home: Path, env: dict[str, str]) -> list[str]:
    env["ZDOTDIR"] = str(home)
    (home / ".zshrc").write_text(
        f"PS1='{PROMPT}'\nfpath=({COMPLETIONS} $fpath)\nautoload -Uz compinit && compinit -u\nbindkey -e\n"
        "setopt no_beep no_list_ambiguous no_prompt_cr no_prompt_sp\nunset zle_bracketed_paste\n"
    )
    return ["zsh", "-d", "-i"]


def _fish(home: Path, env: dict[str, str]) -> list[str]:
    shutil.copytree(COMPLETIONS, home / "share" / "fish" / "vendor_completions.d")
    (home / "data" / "fish" / "generated_completions").mkdir(parents=True)  # or fish sets out to generate them
    env |= {"XDG_DATA_DIRS": str(home / "share"), "XDG_DATA_HOME": str(home / "data")}
    (home / "config" / "fish").mkdir(parents=True)
    (home / "config" / "fish" / "config.fish").write_text(
        f"set fish_greeting\nset -g fish_autosuggestion_enabled 0\nfunction fish_prompt\n echo -n '{PROMPT}'\nend\n"
    )
    env["XDG_CONFIG_HOME"] = str(home / "config")
    return ["fish", "-i"]


SHELLS = {"bash": _bash_lazy, "bash-sourced": _bash_sourced, "zsh": _zsh, "fish": _fish}


@pytest.fixture(scope="module", params=["bash", "zsh", "fish"])
def shell(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    with _shell(request.param, tmp_path_factory.mktemp(request.param)) as shell:
        yield shell


def test_bash_completes_with_sourced_scripts(tmp_path: Path) -> None:
    with _shell("bash-sourced", tmp_path) as shell:
        assert shell.press_tab("dht ping one:1 --js") == "dht ping one:1 --json"
        assert shell.press_tab("dhtd start --config=sett") == "dhtd start --config=settings.toml"


@contextmanager
def _shell(name: str, home: Path) -> Iterator[Shell]:
    program = name.partition("-")[0]
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed here")
    for file in ("settings.toml", "a file.toml"):
        (home / file).touch()
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("DHTD_", "XDG_", "LC_"))}
    env = {
        **kept,
        "HOME": str(home),
        "XDG_RUNTIME_DIR": str(home),
        "TERM": "xterm",
        "LANG": "C.UTF-8",
        "PATH": f"{BIN}:{os.environ['PATH']}",
    }
    command = SHELLS[name](home, env)
    with Shell(command, env, home) as shell:
        shell.wait(PROMPT)
        yield shell


def slow(line: str, completed: str) -> Any:
    """Leave out a line by default: a quick one proves the same of the shell, and test_candidates.py of the program."""
    return pytest.param(line, completed, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    ("line", "completed"),
    [
        ("dht loo", "dht lookup"),
        slow("dht --inst", "dht --instance"),
        slow("dht enter --che", "dht enter --check"),
        slow("dht info rou", "dht info routing_table"),
        ("dht --json info tr", "dht --json info tracking"),
        slow("dhtd keyg", "dhtd keygen"),
        ("dhtd start --log-l", "dhtd start --log-level"),
        slow("dhtd start --log-level d", "dhtd start --log-level debug"),
        ("dhtd start --log-level=d", "dhtd start --log-level=debug"),
        slow("dhtd start --cap cla", "dhtd start --cap claims=8"),
    ],
)
def test_commands_options_and_choices_complete(shell: Shell, line: str, completed: str) -> None:
    assert shell.press_tab(line) == completed


@pytest.mark.parametrize(
    ("line", "completed"),
    [
        slow("dht --socket sett", "dht --socket settings.toml"),
        slow("dht hash --file sett", "dht hash --file settings.toml"),
        ("dht hash --file a", "dht hash --file a file.toml"),  # the shell quotes it, and echo takes the quotes away
        ("dht enter wiki 80 -- sett", "dht enter wiki 80 -- settings.toml"),
        slow("dht watch wiki -- sett", "dht watch wiki -- settings.toml"),
        slow("dht enter wiki 80 -- settings.toml --lo sett", "dht enter wiki 80 -- settings.toml --lo settings.toml"),
        ("dhtd start --state=sett", "dhtd start --state=settings.toml"),
        slow("dhtd start --network-key sett", "dhtd start --network-key settings.toml"),
        slow("dhtd keygen sett", "dhtd keygen settings.toml"),
        slow("dhtd start --socket sett", "dhtd start --socket settings.toml"),
    ],
)
def test_files_complete_where_an_option_takes_one(shell: Shell, line: str, completed: str) -> None:
    assert shell.press_tab(line) == completed


@pytest.mark.parametrize("line", ["dht bootstrap sett", pytest.param("dhtd start --bind sett", marks=pytest.mark.slow)])
def test_files_are_not_offered_elsewhere(shell: Shell, line: str) -> None:
    assert shell.press_tab(line) == line


@pytest.mark.parametrize(
    ("line", "completed"),
    [
        slow("dht ping 192.168.1.123:1729 --js", "dht ping 192.168.1.123:1729 --json"),
        ("dht ping '[::1]:1729' --js", "dht ping [::1]:1729 --json"),
        slow("dht bootstrap one:1 two:2 --js", "dht bootstrap one:1 two:2 --json"),
        ("dhtd start --bootstrap=one:1 --log-f", "dhtd start --bootstrap=one:1 --log-format"),
        ("dht ping one:", "dht ping one:"),
    ],
)
def test_words_with_colons_stay_whole(shell: Shell, line: str, completed: str) -> None:
    assert shell.press_tab(line) == completed


def test_all_commands_are_offered(shell: Shell) -> None:
    drawn = shell.offered("dht ", *COMMANDS)
    assert "install" not in drawn  # as typer's own options are called


def test_known_ids_ports_and_endpoints_complete(shell: Shell, network: Network, daemon: Daemon) -> None:
    dht = f"dht --timeout {DEADLINE} --socket {daemon.socket}"
    other = network.daemons[1].endpoint
    assert shell.press_tab(f"{dht} lookup {ID[:4]}") == f"{dht} lookup {ID}"
    assert shell.press_tab(f"{dht} delete {ID} {str(PORT)[:2]}") == f"{dht} delete {ID} {PORT}"
    assert shell.press_tab(f"{dht} ping {other[:-1]}") == f"{dht} ping {other}"


@pytest.mark.slow
def test_ids_complete_in_each_place(shell: Shell, network: Network, daemon: Daemon) -> None:
    dht = f"dht --timeout {DEADLINE} --socket {daemon.socket}"
    other = network.daemons[1].endpoint
    assert shell.press_tab(f"{dht} lookup {ID[:4].upper()}") == f"{dht} lookup {ID[:4].upper()}{ID[4:]}"
    assert shell.press_tab(f"{dht} delete {ID[:4]}") == f"{dht} delete {ID}"
    assert shell.press_tab(f"{dht} find-value {other} {ID[:4]}") == f"{dht} find-value {other} {ID}"
    assert shell.press_tab(f"{dht} lookup --name {ID[:4]}") == f"{dht} lookup --name {ID[:4]}"


def test_an_entry_held_for_another_node_completes(shell: Shell, network: Network) -> None:
    dht = f"dht --timeout {DEADLINE} --socket {network.daemons[1].socket}"
    assert shell.press_tab(f"{dht} lookup {ID[:4]}") == f"{dht} lookup {ID}"
    assert shell.press_tab(f"{dht} delete {ID[:4]}") == f"{dht} delete {ID[:4]}"  # it has not entered it


@pytest.mark.parametrize("line", ["dht lookup ", "dht --socket /none/x delete 5a"])
def test_without_a_daemon_completion_is_silent(shell: Shell, line: str) -> None:
    shell.type(f"{line}\t\x01echo LI''NE: \x05\r")
    drawn = shell.wait("LINE: ", PROMPT)
    assert f"LINE: {line.rstrip()}" in drawn
    assert "daemon" not in drawn
    assert "rror" not in drawn
