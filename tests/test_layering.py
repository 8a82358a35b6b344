"""Which file may import which, what a run of the client really loads, and how long a file and a class may be."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

import dhtd

ROOT = Path(dhtd.__file__).parent

# errors <- core <- wire <- sim; core <- service <- control; core, wire <- config; all of these <- daemon
# sim, http <- lab; control, config <- api; daemon, api <- testing; all <- cli
ALLOWED: dict[str, set[str]] = {
    "dhtd": {"dhtd.errors", "dhtd.api"},
    "dhtd.errors": set(),
    "dhtd.core": {"dhtd.errors"},
    "dhtd.wire": {"dhtd.errors", "dhtd.core"},
    "dhtd.sim": {"dhtd.errors", "dhtd.core", "dhtd.wire"},
    "dhtd.service": {"dhtd.errors", "dhtd.core"},
    "dhtd.control": {"dhtd", "dhtd.errors", "dhtd.core", "dhtd.service"},
    "dhtd.config": {"dhtd", "dhtd.errors", "dhtd.core", "dhtd.wire"},
    "dhtd.daemon": {"dhtd", "dhtd.errors", "dhtd.core", "dhtd.wire", "dhtd.service", "dhtd.control", "dhtd.config"},
    "dhtd.dns": {"dhtd.errors", "dhtd.core", "dhtd.service", "dhtd.control", "dhtd.config"},
    "dhtd.http": {"dhtd", "dhtd.errors", "dhtd.core", "dhtd.service", "dhtd.control", "dhtd.config"},
    "dhtd.lab": {
        *("dhtd.errors", "dhtd.core", "dhtd.sim", "dhtd.service", "dhtd.control", "dhtd.config", "dhtd.http"),
    },
    "dhtd.api": {"dhtd.errors", "dhtd.core", "dhtd.wire", "dhtd.service", "dhtd.control", "dhtd.config"},
    "dhtd.testing": {"dhtd.errors", "dhtd.config", "dhtd.daemon", "dhtd.api"},
    "dhtd.cli": {
        *("dhtd", "dhtd.errors", "dhtd.core", "dhtd.wire", "dhtd.sim", "dhtd.service", "dhtd.control", "dhtd.config"),
        *("dhtd.daemon", "dhtd.dns", "dhtd.http", "dhtd.lab", "dhtd.api", "dhtd.testing"),
    },
}

# The rooms of the core, from the ground up: each imports from those before it alone.
ROOMS = [
    *("enums", "ids", "names", "endpoint", "timers", "policy", "round_trips", "address_groups", "latest"),
    "records",
    *("messages", "codec", "counters", "traces", "events"),
    *("address", "storage", "routing", "querying", "membership", "publishing", "watching", "values", "serving"),
    *("news", "machine", "commands", "node"),
]

# What a pure core has no use for: clocks, entropy, sockets, files, threads, logs, and wires.
IMPURE = {
    *("asyncio", "datetime", "io", "logging", "msgpack", "multiprocessing", "os", "pathlib", "platformdirs", "random"),
    *("rich", "sched", "secrets", "select", "selectors", "signal", "socket", "sqlite3", "ssl", "subprocess", "sys"),
    *("tempfile", "threading", "time", "trio", "typer", "uuid"),
}

# What may be used, of all that is not our own. A new one is a decision, and is made here.
PURE = {
    *(
        "__future__",
        "array",
        "bisect",
        "collections",
        "dataclasses",
        "enum",
        "functools",
        "hashlib",
        "heapq",
        "hmac",
        "ipaddress",
        "math",
        "itertools",
    ),
    *("statistics", "types", "typing", "unicodedata"),
}


LONGEST_FILE, LONGEST_CLASS = 350, 300  # lines
REASON = "This file is long because"  # what a longer file says in its head, and then why

# What a picture needs, and nothing else is to wait for.
PLOTTING = {"matplotlib", "numpy", "PIL"}


@dataclass(frozen=True)
class Import:
    """One name that a file imports."""

    file: str
    line: int
    module: str
    at_run_time: bool
    at_top: bool

    @property
    def root(self) -> str:
        return self.module.partition(".")[0]

    def __str__(self) -> str:
        return f"{self.file}:{self.line} imports {self.module}"


def layer(module: str) -> str:
    """Return the layer of one of our modules."""
    parts = module.split(".")
    return ".".join(parts[:2]) if len(parts) > 1 and ".".join(parts[:2]) in ALLOWED else parts[0]


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_in(source: str, file: str) -> Iterator[Import]:
    """Yield every import of a file, at any place; `if TYPE_CHECKING` is not at run time."""

    def visit(node: ast.AST, *, at_run_time: bool, at_top: bool) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(file, node.lineno, alias.name, at_run_time, at_top)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno}: a relative import"
            assert node.module is not None
            for alias in node.names:  # `from dhtd.cli import info` imports a module
                is_module = node.module.startswith("dhtd") and is_ours(f"{node.module}.{alias.name}")
                module = f"{node.module}.{alias.name}" if is_module else node.module
                yield Import(file, node.lineno, module, at_run_time, at_top)
        elif isinstance(node, ast.If) and is_type_checking(node.test):
            for statement in node.body:
                yield from visit(statement, at_run_time=False, at_top=at_top)
            for statement in node.orelse:
                yield from visit(statement, at_run_time=at_run_time, at_top=at_top)
        else:
            inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            for child in ast.iter_child_nodes(node):
                yield from visit(child, at_run_time=at_run_time, at_top=at_top and not inside)

    yield from visit(ast.parse(source), at_run_time=True, at_top=True)


def is_type_checking(test: ast.expr) -> bool:
    return (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (
        isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING"
    )


def is_ours(module: str) -> bool:
    path = ROOT.parent.joinpath(*module.split("."))
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


FILES = sorted(ROOT.rglob("*.py"))


@cache
def imports_of_all() -> dict[str, list[Import]]:
    """Return the imports of each module. They are read when the first test asks, and so not in each worker."""
    return {module_of(path): list(imports_in(path.read_text(), str(path.relative_to(ROOT.parent)))) for path in FILES}


def of_layer(name: str) -> list[Import]:
    return [found for module, imports in imports_of_all().items() if layer(module) == name for found in imports]


def test_the_reader_of_imports_sees_them_all() -> None:
    source = """
import os, dhtd.core.node
from typing import TYPE_CHECKING
from dhtd.core import node
from dhtd.core.querying.search import Ask
if TYPE_CHECKING:
    from random import Random
else:
    import random
def function():
    import trio
    class Inner:
        from rich import print
try:
    import ssl
except ImportError:
    import time as socket
"""
    found = {(found.module, found.at_run_time, found.at_top) for found in imports_in(source, "example")}
    assert found == {
        ("os", True, True),
        ("dhtd.core.node", True, True),
        ("typing", True, True),
        ("dhtd.core.querying.search", True, True),
        ("random", False, True),
        ("random", True, True),
        ("trio", True, False),
        ("rich", True, False),
        ("ssl", True, True),
        ("time", True, True),
    }


def test_every_file_is_in_a_layer() -> None:
    assert {layer(module) for module in imports_of_all()} == set(ALLOWED)


@pytest.mark.parametrize("name", ALLOWED)
def test_imports_run_one_way(name: str) -> None:
    """Imports for type checkers count, too: using the name of a thing means to depend on it."""
    allowed = ALLOWED[name] | {name}
    ours = [found for found in of_layer(name) if found.root == "dhtd"]
    assert [str(found) for found in ours if layer(found.module) not in allowed] == []


def test_no_import_goes_round_in_a_circle() -> None:
    """Imports for type checkers count, and those within functions."""
    needs = {
        module: {found.module for found in imports if found.root == "dhtd"}
        for module, imports in imports_of_all().items()
    }
    while free := {module for module, needed in needs.items() if not needed & needs.keys()}:
        needs = {module: needed for module, needed in needs.items() if module not in free}
    assert needs == {}


def room(module: str) -> str:
    """Return the room of the core that a module is in."""
    return module.split(".")[2]


def test_the_rooms_of_the_core_are_one_column() -> None:
    modules = [module for module in imports_of_all() if module.startswith("dhtd.core.")]
    assert {room(module) for module in modules} == set(ROOMS)
    arrows = {
        (room(module), room(found.module))
        for module in modules
        for found in imports_of_all()[module]
        if found.module.startswith("dhtd.core.") and room(found.module) != room(module)
    }
    for name in reversed(ROOMS):  # the picture, top to bottom; pytest shows it where this fails
        print(f"{name:>16} -> {' '.join(other for other in ROOMS if (name, other) in arrows)}")  # noqa: T201
    upward = sorted((above, below) for below, above in arrows if ROOMS.index(above) > ROOMS.index(below))
    assert upward == []


def test_no_file_is_long_without_a_reason() -> None:
    long = {}
    for path in FILES:
        source, name = path.read_text(), str(path.relative_to(ROOT))
        lines = source.count("\n")
        if lines > LONGEST_FILE and REASON not in (ast.get_docstring(ast.parse(source)) or "").replace("\n", " "):
            long[name] = lines
    assert long == {}, f"split it, or say in its head: {REASON} ..."


def test_no_class_is_long() -> None:
    long = {}
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                assert node.end_lineno is not None
                lines = node.end_lineno - node.lineno + 1
                if lines > LONGEST_CLASS:
                    long[node.name] = lines
    assert long == {}


def test_the_paths_in_contributing_are_there() -> None:
    root = ROOT.parent
    named = re.findall(r"`((?:dhtd|tests)/[\w/.]+)`", (root / "CONTRIBUTING.md").read_text(encoding="utf-8"))
    assert len(named) > 5
    assert [path for path in named if not (root / path).exists()] == []


def test_the_core_is_pure() -> None:
    impure = [str(found) for found in of_layer("dhtd.core") if found.at_run_time and found.root in IMPURE]
    assert impure == []
    used = {found.root for found in of_layer("dhtd.core") if found.at_run_time} - {"dhtd"}
    assert used <= PURE, "decide whether this belongs in a pure core, then name it in PURE"


def test_the_conversation_does_no_io() -> None:
    """The methods, their frames and the client's protocol serve any transport."""
    modules = [module for module in imports_of_all() if layer(module) == "dhtd.service"]
    modules += [f"dhtd.control.{name}" for name in ("frames", "requests", "conversation")]
    assert [str(found) for module in modules for found in imports_of_all()[module] if found.root in IMPURE] == []


def test_the_core_reads_no_clock_and_no_entropy() -> None:
    suspicious = {"open", "print", "input", "__import__", "exec", "eval", "id", "hash"}
    for path in sorted((ROOT / "core").rglob("*.py")):
        tree = ast.parse(path.read_text())
        # A `__hash__` may call `hash`: its result chooses places in dictionaries, and these keep their order.
        hashing = [each for each in ast.walk(tree) if isinstance(each, ast.FunctionDef) and each.name == "__hash__"]
        excused = {id(node) for each in hashing for node in ast.walk(each)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and id(node) not in excused:
                assert node.func.id not in suspicious, f"{path.name}:{node.lineno} calls {node.func.id}"


@pytest.mark.parametrize(
    ("package", "layers"),
    [
        ("msgpack", {"dhtd.wire"}),
        ("nacl", {"dhtd.wire"}),
        ("trio", {"dhtd.control", "dhtd.daemon", "dhtd.dns", "dhtd.http", "dhtd.lab", "dhtd.cli", "dhtd.testing"}),
        ("hypercorn", {"dhtd.http"}),
        ("starlette", {"dhtd.http"}),
        ("anyio", {"dhtd.api", "dhtd.testing"}),
        ("typer", {"dhtd.cli"}),
        ("click", {"dhtd.cli"}),
        ("platformdirs", {"dhtd.config"}),
        ("sqlite3", {"dhtd.daemon"}),
    ],
)
def test_a_package_stays_in_its_layers(package: str, layers: set[str]) -> None:
    users = {
        layer(module) for module, imports in imports_of_all().items() for found in imports if found.root == package
    }
    assert users <= layers


def test_only_the_renderers_import_rich() -> None:
    users = {module for module, imports in imports_of_all().items() for found in imports if found.root == "rich"}
    renderers = ("render", "render_doctor", "render_info", "render_node", "render_trace")
    assert users == {f"dhtd.cli.{each}" for each in renderers}


def test_only_the_plotters_import_matplotlib() -> None:
    users = {module for module, imports in imports_of_all().items() for found in imports if found.root == "matplotlib"}
    assert users == {"dhtd.cli.simulate.plot", "dhtd.cli.simulate.plot_comparison"}


def test_dnspython_is_waited_for_where_it_serves() -> None:
    using = {module for module, imports in imports_of_all().items() for found in imports if found.root == "dns"}
    users = {module for module in using if layer(module) != "dhtd.dns"}
    assert users == {"dhtd.cli.pkarr.packet", "dhtd.cli.pkarr.zone_file"}
    outside = {
        module
        for module, imports in imports_of_all().items()
        for found in imports
        if found.module in users and found.at_run_time and found.at_top
    }
    assert outside - users == set(), "a command without DNS records must not wait for it"


def test_control_imports_trio_in_the_daemon_only() -> None:
    users = {
        module
        for module, imports in imports_of_all().items()
        for found in imports
        if layer(module) == "dhtd.control" and found.root == "trio"
    }
    assert users == {f"dhtd.control.{name}" for name in ("connection", "lines", "server", "threads")}


def loaded_by(code: str) -> set[str]:
    """Return the modules in memory after a fresh Python has run `code`."""
    program = f"{code}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    return set(json.loads(run.stdout.splitlines()[-1]))


@pytest.mark.parametrize("module", ["dhtd.control.client", "dhtd.cli.dht"])
def test_the_client_loads_no_trio_rich_or_daemon(module: str) -> None:
    """They would cost every `dht` command 90 ms and more."""
    loaded = loaded_by(f"import {module}")
    assert module in loaded
    assert {
        name for name in loaded if name.partition(".")[0] in ("trio", "rich", "msgpack", "nacl", "asyncio", "sqlite3")
    } == set()
    assert {name for name in loaded if name.startswith(("dhtd.daemon", "dhtd.sim", "dhtd.wire"))} == set()


def test_no_command_loads_trio_and_few_load_rich(tmp_path: Path) -> None:
    """One process runs them one after another, and says after which command something was there."""
    id = "00" * 32
    commands = [
        ["info"],
        ["node-id"],
        ["status"],
        ["ping", "127.0.0.1:9"],
        ["lookup", id],
        ["trace", id],
        ["events"],
        ["enter", id, "80"],
    ]
    commands += [["delete", id], ["bootstrap", "127.0.0.1:9"], ["hash", "text"]]
    commands += [["put", "text"], ["get", id], ["get", id, "--json"], ["keep", id]]
    code = f"""
import sys
from dhtd.cli.dht import main
for arguments in {commands!r}:
    sys.argv = ["dht", "--socket", {str(tmp_path / "nobody")!r}, *arguments]
    try:
        main()
    except SystemExit as end:
        assert end.code == (0 if arguments[0] == "hash" else 3), (arguments, end.code)
    else:
        raise AssertionError(arguments)
    assert not {{"trio", "rich", "msgpack", "nacl", "asyncio", "sqlite3", "dns"}} & set(sys.modules), arguments
"""
    assert "dhtd.control.client" in loaded_by(code)


def test_the_api_loads_no_daemon_and_no_loop() -> None:
    """A program has its own loop, if it has one at all."""
    heavy = {"trio", "asyncio", "rich", "typer", "msgpack", "nacl", "sqlite3"}
    for name, others in (("connect", set()), ("connect_blocking", {"anyio"})):
        loaded = loaded_by(f"import dhtd; dhtd.{name}")
        assert "dhtd.api.dht" in loaded
        assert {each for each in loaded if each.partition(".")[0] in heavy | others} == set()
        assert {each for each in loaded if each.startswith(("dhtd.daemon", "dhtd.sim", "dhtd.wire"))} == set()


def test_the_package_alone_loads_nothing() -> None:
    assert {each for each in loaded_by("import dhtd") if each.startswith("dhtd")} == {"dhtd"}


def test_the_plugin_of_pytest_loads_no_daemon() -> None:
    loaded = loaded_by("import dhtd.testing.plugin")
    assert {each for each in loaded if each.startswith("dhtd")} == {"dhtd", "dhtd.testing", "dhtd.testing.plugin"}
    assert not {"trio", "anyio"} & loaded


@pytest.mark.parametrize("module", ["dhtd.wire.sealed", "dhtd.wire.signatures"])
def test_libsodium_is_waited_for_where_it_serves(module: str) -> None:
    users = {module for module, imports in imports_of_all().items() for found in imports if found.root == "nacl"}
    assert users == {"dhtd.wire.sealed", "dhtd.wire.signatures"}
    users = {
        user
        for user, imports in imports_of_all().items()
        for found in imports
        if found.module == module and found.at_run_time and found.at_top
    }
    assert users == set(), "a node without a network key, and without signed values, must not wait for it"


def test_only_checks_by_http_import_h11() -> None:
    users = {module for module, imports in imports_of_all().items() for found in imports if found.root == "h11"}
    assert users == {"dhtd.daemon.guards.http", "dhtd.http.conversation"}
    users = {
        module
        for module, imports in imports_of_all().items()
        for found in imports
        if found.module == "dhtd.daemon.guards.http" and found.at_run_time and found.at_top
    }
    assert users == set(), "a daemon without checks must not wait for it"


@pytest.mark.parametrize("arguments", [["--help"], ["start", "--port", "0"]], ids=["help", "start"])
def test_the_daemon_loads_no_simulator(arguments: list[str]) -> None:
    loaded = loaded_by(f"""
import sys
from dhtd.cli.dhtd import main
sys.argv = {["dhtd", *arguments]!r}
try:
    main()
except SystemExit as end:
    assert end.code == {2 if "start" in arguments else 0}, end.code
""")
    assert ("dhtd.daemon.app" in loaded) == ("start" in arguments)
    assert {name for name in loaded if name.startswith("dhtd.sim") or name.partition(".")[0] in PLOTTING} == set()


def test_a_plain_simulation_loads_no_plotter() -> None:
    loaded = loaded_by("""
import sys
from dhtd.cli.dhtd import main
sys.argv = ["dhtd", "simulate", "--scenario", "lone-node"]
try:
    main()
except SystemExit as end:
    assert end.code == 0, end.code
""")
    assert "dhtd.sim.simulation" in loaded
    assert {name.partition(".")[0] for name in loaded} & {*PLOTTING, "rich", "trio", "sqlite3", "asyncio"} == set()


def test_the_web_is_waited_for_where_it_serves() -> None:
    users = {
        module
        for module, imports in imports_of_all().items()
        for found in imports
        if found.module.startswith("dhtd.http") and found.at_run_time and layer(module) not in {"dhtd.http", "dhtd.lab"}
    }
    assert users == {"dhtd.cli.verbs.start"}
    loaded = loaded_by("import dhtd.cli.verbs.start, dhtd.daemon.app")
    assert {name.partition(".")[0] for name in loaded} & {"hypercorn", "starlette", "anyio", "h11", "h2"} == set()


def test_the_lab_is_waited_for_where_somebody_looks() -> None:
    users = {
        module
        for module, imports in imports_of_all().items()
        for found in imports
        if found.module.startswith("dhtd.lab") and layer(module) != "dhtd.lab"
    }
    assert users == {"dhtd.cli.simulate.view"}
    loaded = loaded_by("import dhtd.cli.simulate.view, dhtd.cli.simulate.run")
    assert {name.partition(".")[0] for name in loaded} & {"trio", "hypercorn", "starlette", "h11"} == set()


def test_the_dns_door_is_waited_for_where_it_serves() -> None:
    users = {
        module
        for module, imports in imports_of_all().items()
        for found in imports
        if found.module.startswith("dhtd.dns") and found.at_run_time and layer(module) != "dhtd.dns"
    }
    assert users == {"dhtd.cli.verbs.start"}
    loaded = loaded_by("import dhtd.cli.verbs.start, dhtd.daemon.app")
    assert {name for name in loaded if name.partition(".")[0] == "dns" or name.startswith("dhtd.dns")} == set()


def test_the_core_loads_nothing_impure_of_its_own() -> None:
    loaded = loaded_by("import dhtd.core.node")
    assert {name for name in loaded if name.startswith("dhtd.")} == {
        name for name in loaded if name.startswith(("dhtd.core", "dhtd.errors"))
    }
    assert loaded & {"trio", "msgpack", "socket", "ssl", "logging", "threading", "asyncio"} == set()
