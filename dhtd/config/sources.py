"""The settings of `dhtd start`, from five places: options, environment, user and system configuration, defaults.

dhtd.toml(5) is the user's side of this, and `SETTINGS` the list that both follow. Keys are the names of the options:
`node-id` stands for `--node-id`, `DHTD_NODE_ID` and `node-id = "…"`. A variable that is set but empty is not set.
Only the variable of `network-key` says that it names a file, `DHTD_NETWORK_KEY_FILE`, and must not be empty.

A network names the instance where nothing else does. An instance gives the state file and the control socket their
default places. It may come from a nearer source (say, the command line) than a state file or a socket (say, the
environment). Then the instance decides, and the farther name does not count. `dht` follows the same rule. Otherwise it
would ask another daemon than the one that was started.

An option or a variable that names the network also chooses the configuration files: what stands in those of our own
network (a port, a key, nodes to join by) is of no use elsewhere.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from dhtd.config import addresses, paths, toml_file
from dhtd.config.networks import MAINLINE, NATIVE, NETWORKS, Network
from dhtd.config.settings import INSTANCE, NEEDED, NETWORK, NOT_EMPTY, OF_INSTANCE, SETTINGS, SOCKET, Setting, Settings
from dhtd.config.values import shown
from dhtd.core.ids import Id
from dhtd.errors import ConfigError, UsageError

CONFIG_VARIABLE: Final = "DHTD_CONFIG"
VARIABLES_PREFIX: Final = "DHTD_"  # of our variables, and of no others


@dataclass(frozen=True, slots=True)
class Change:
    """A setting that differs between two `Settings`. Its text is for the log."""

    key: str
    old: str
    new: str
    at_run_time: bool  # else it waits for a restart

    def __str__(self) -> str:
        """Return one line."""
        line = f"{self.key} is now {self.new}, and was {self.old}"
        return line if self.at_run_time else f"{line}: restart dhtd for this to take effect"


def load_settings(options: Mapping[str, object], environ: Mapping[str, str]) -> Settings:
    """Return the settings; raise `ConfigError`, or `SocketUnusable` for a path that is too long for a socket.

    `options` are those of the command line, `config` included, by key or by field (`node-id`, `node_id`). None and an
    empty list mean "not given". Text is read as on the command line. The directories of configuration, state and socket
    follow the environment of the process, not `environ`.
    """
    given = {key.replace("_", "-"): value for key, value in options.items()}
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    node_id = ""  # as it is written
    for source in _sources(given, environ):
        source.refuse_unknown()
        # What is named nearer than this source:
        apart: tuple[str, ...] = OF_INSTANCE if "instance" in values else ()
        if source.is_apart(values.get("network")):
            apart = ("instance", *OF_INSTANCE)
        for setting in SETTINGS:
            if setting.key in source.values:
                value = source.read(setting)  # checked even where a nearer value counts: its error may bite later
                if setting.key not in values and setting.key not in apart:
                    values[setting.key] = value
                    origins[setting.key] = source.origin(setting)
                    node_id = str(source.values[setting.key]) if setting.key == "node-id" else node_id
    network = NETWORKS[values.get("network", NATIVE.name)]
    instance = values.setdefault("instance", network.instance)
    if "state" not in values:
        values["state"] = paths.state_file(instance)
    if "socket" not in values:
        values["socket"] = paths.control_socket(instance)
    if "entries" not in values and instance == paths.DEFAULT_INSTANCE:
        values["entries"] = paths.entries()
    paths.check_socket(values["socket"])
    _refuse_of_others(network, values, origins, node_id)
    _refuse_open_http(values, origins)
    _refuse_open_dns(values, origins)
    defaults = {setting.key: setting.default for setting in SETTINGS} | dict(network.defaults)
    return Settings(
        **{setting.field: values.get(setting.key, defaults[setting.key]) for setting in SETTINGS},
        origins={setting.key: origins.get(setting.key, "default") for setting in SETTINGS},
    )


def client_socket(
    socket: Path | str | None,
    instance: str | None,
    environ: Mapping[str, str],
    network: str | None = None,
    *,
    implied: str | None = None,
) -> Path:
    """Return the socket for `dht`, by the same rules; raise `ConfigError` or `SocketUnusable`.

    Looks no further than it must: a socket or an instance that is named on the command line or in the environment is
    found without opening a configuration file. `implied` is the name of the network that an argument implies: it counts
    where neither of them names a daemon.
    """
    given: dict[str, object] = {"socket": socket, "instance": instance, "network": network}
    named: str | None = None
    for source in _sources(given, environ):
        if source.is_apart(named) or (implied == MAINLINE.name and source.is_apart(implied) and source.kind == "file"):
            continue
        if (path := _place(source)) is not None:
            return path
        if named is None and NETWORK.key in source.values:
            named = source.read(NETWORK)
    if named is None and implied == MAINLINE.name:
        return client_socket(None, None, {}, implied)
    return paths.find_control_socket(NETWORKS[named or implied or NATIVE.name].instance)


def _place(source: _Source) -> Path | None:
    """Return the socket that a source names, itself or by its instance; None if it does neither."""
    if "socket" in source.values:
        path: Path = source.read(SOCKET)
        return paths.check_socket(path)
    return paths.find_control_socket(source.read(INSTANCE)) if "instance" in source.values else None


def _refuse_of_others(network: Network, values: Mapping[str, Any], origins: Mapping[str, str], node_id: str) -> None:
    """Raise where a setting is of another network than the one of this daemon."""
    if network is MAINLINE:
        if values.get("network-key"):
            raise ConfigError(
                f"{origins['network-key']}: the Mainline network has no keys, and this node would talk to strangers:"
                " leave out the key, or --network mainline"
            )
    else:
        for key in ("public-bootstrap", "read-only"):
            if key in origins:
                raise ConfigError(f"{origins[key]}: {key} is of the Mainline network: say --network mainline as well")
    digits = 2 * network.keyspace.width
    if node_id and len(node_id) != digits:
        raise ConfigError(f"{origins['node-id']}: an ID in the {network.name} network has {digits} hex digits")


def _refuse_open_http(values: Mapping[str, Any], origins: Mapping[str, str]) -> None:
    """Raise where other machines would reach HTTP without TLS, or without anybody having said that they may."""
    public = next((text for text in values.get("http", ()) if not addresses.is_local(text)), None)
    if public is None:
        return
    if not values.get("http-public"):
        raise ConfigError(
            f"{origins['http']}: other machines reach {public}: say --http-public as well, with a certificate for TLS,"
            " or listen on 127.0.0.1"
        )
    if not values.get("http-tls"):
        raise ConfigError(
            f"{origins['http']}: the token would cross the network to {public} in clear: give a certificate with"
            " --http-tls"
        )


def _refuse_open_dns(values: Mapping[str, Any], origins: Mapping[str, str]) -> None:
    """Raise where other machines would reach DNS without anybody having said that they may."""
    public = next((text for text in values.get("dns", ()) if not addresses.is_local(text)), None)
    if public is not None and not values.get("dns-public"):
        raise ConfigError(
            f"{origins['dns']}: other machines reach {public}, and see what is asked: say --dns-public as well, or"
            " listen on 127.0.0.1"
        )


def changes(old: Settings, new: Settings) -> list[Change]:
    """Return the changes, in the order of `SETTINGS`."""
    found = []
    for setting in SETTINGS:
        before, after = getattr(old, setting.field), getattr(new, setting.field)
        if before != after:
            now = setting.at_run_time and not _is_sealing_changed(setting.key, before, after)
            texts = _text(setting, before, old.network), _text(setting, after, new.network)
            found.append(Change(setting.key, *texts, now))
    return found


def _is_sealing_changed(key: str, before: object, after: object) -> bool:
    """Whether the change would open a sealed network or seal an open one. No slip in a file may do that at run time."""
    return key == "network-key" and bool(before) != bool(after)


def _text(setting: Setting, value: object, network: str) -> str:
    match value:
        case None | ():
            return "not set"
        case tuple():
            return ", ".join(map(str, value))
        case int() if setting.key == "node-id":
            return NETWORKS[network].keyspace.format(Id(value))
        case _:
            return str(value)


class _Source(NamedTuple):
    """One source of settings: the options, the environment, or a file."""

    values: Mapping[str, object]  # by key
    kind: str  # "option", "variable" or "file"
    file: Path = Path()
    network: str = NATIVE.name  # that of the file, where it says nothing else

    def origin(self, setting: Setting) -> str:
        """Return the name of the place, for `Settings.origins`."""
        match self.kind:
            case "option":
                return f"--{setting.key}"
            case "variable":
                return setting.variable
            case _:
                return str(self.file)

    def read(self, setting: Setting) -> Any:
        """Return the checked value; raise `ConfigError`, which names the place."""
        raw = self.values[setting.key]
        if isinstance(raw, Path):
            raw = str(raw)
        try:
            if isinstance(raw, str) and self.kind != "file":
                return setting.kind.text(raw)
            if isinstance(raw, list | tuple) and self.kind == "option" and setting.kind.repeated is not None:
                return setting.kind.repeated([str(text) for text in raw])
            return setting.kind.value(raw)
        except UsageError as error:
            key = f": {setting.key}" if self.kind == "file" else ""
            raise ConfigError(f"{self.origin(setting)}{key}: {error}") from error

    def is_apart(self, network: str | None) -> bool:
        """Whether the places that this source names are not those of a network, which a nearer source has named.

        A file that says nothing else is for that network: it was chosen by it.
        """
        if network is None:
            return False
        if NETWORK.key in self.values:
            return bool(self.read(NETWORK) != network)
        return self.kind != "file" or self.network != network

    def refuse_unknown(self) -> None:
        """Raise if a file has an unknown key."""
        known = [setting.key for setting in SETTINGS]
        for key in self.values:
            if key not in known:
                assert self.kind == "file", key
                near = _nearest(key.lower().strip().replace("_", "-"), known, "-")
                hint = "dhtd.toml(5) lists all" if near is None else f"did you mean {near!r}?"
                raise ConfigError(f"{self.file}: unknown key {shown(key)}; {hint}")


def _refuse_unknown_variables(environ: Mapping[str, str]) -> None:
    """Raise for an unknown variable that looks like one of ours: a misspelt key file would make an open node."""
    known = [CONFIG_VARIABLE, *(setting.variable for setting in SETTINGS)]
    for name, text in environ.items():
        if name.upper().startswith(VARIABLES_PREFIX) and name not in known and text.strip():
            bare = {other.removeprefix(VARIABLES_PREFIX): other for other in known}
            near = _nearest(name.upper().strip().removeprefix(VARIABLES_PREFIX), list(bare), "_")
            hint = "" if near is None else f"did you mean {bare[near]}? "
            raise ConfigError(f"unknown environment variable {shown(name)}; {hint}dhtd(8) lists all")


def _nearest(name: str, known: Sequence[str], between: str) -> str | None:
    """Return the known name most like this one: first by common words, then by spelling.

    `between` is what separates words.
    """
    from difflib import get_close_matches  # noqa: PLC0415 - only errors need it

    words = set(name.split(between))
    shared = {other: len(words & set(other.split(between))) for other in known}
    most = max(shared.values())
    if most:
        return get_close_matches(name, [other for other in known if shared[other] == most], n=1, cutoff=0)[0]
    return next(iter(get_close_matches(name, known, n=1)), None)


def _sources(options: Mapping[str, object], environ: Mapping[str, str]) -> Iterator[_Source]:
    """Yield the sources from the nearest to the farthest. Each file is opened only in its turn."""
    given = {key: value for key, value in options.items() if value not in (None, [], ())}
    named = given.pop("config", None)
    yield _Source(given, "option")
    _refuse_unknown_variables(environ)
    texts = {setting.key: environ[setting.variable] for setting in SETTINGS if setting.variable in environ}
    variables: dict[str, object] = {key: text for key, text in texts.items() if text.strip() or key in NOT_EMPTY}
    yield _Source(variables, "variable")
    name = str(given.get("network") or variables.get("network") or NATIVE.name)
    config = NETWORKS.get(name, NATIVE).config
    if named is not None:
        if not str(named).strip():
            raise ConfigError("--config is empty, and must be the path of a configuration file")
        yield _read_file(str(named), name, "--config")
    elif environ.get(CONFIG_VARIABLE, "").strip():
        yield _read_file(environ[CONFIG_VARIABLE], name, CONFIG_VARIABLE)
    elif (path := paths.user_config(config)) is not None and not _is_closed(path, {**variables, **given}):
        yield _read_file(str(path), name)
    yield _read_file(str(paths.system_config(config)), name)


def _is_closed(path: Path, named: Mapping[str, object]) -> bool:
    """Whether a user's configuration lies in another user's closed home, while `named` has all places of ours."""
    try:
        path.lstat()
    except PermissionError:
        return paths.owner(path) != os.geteuid() and all(place in named for place in NEEDED)
    except OSError:
        pass
    return False


def _read_file(text: str, network: str, named_by: str | None = None) -> _Source:
    """Read a configuration file for a daemon of this network.

    It may be missing, unless it is `named_by` an option or a variable.
    """
    path = Path(text)
    try:
        path = paths.locate(text)
        with path.open("rb") as file:
            data = file.read(toml_file.SIZE_MAX + 1)
    except (FileNotFoundError, NotADirectoryError) as error:
        if named_by is None:
            return _Source({}, "file", path, network)
        raise ConfigError(f"{named_by}: there is no configuration file {path}") from error
    except (OSError, RuntimeError, ValueError) as error:
        reason = (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
        if path == paths.user_config(path.name) and paths.owner(path) != os.geteuid():
            reason += "; it is another user's: set HOME (sudo does with -H), or name --state and --socket"
        raise ConfigError(f"the configuration file {path} cannot be read: {reason}") from error
    return _Source(toml_file.parse(data, f"the configuration file {path}"), "file", path, network)
