"""The table of all settings: the keys of dhtd.toml(5), the options of `dhtd start`, the variables of dhtd(8).

A new setting is a row in `SETTINGS` and a field in `Settings`. The option and its help, its completion, the variable
and the key in a file come from the row, and tests hold the manual pages to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from dhtd.config import paths, values
from dhtd.config.networks import NATIVE, NETWORKS
from dhtd.config.values import CapNumber, Kind, count_of, one_of
from dhtd.core.ids import Id

LOG_LEVELS: Final = ("debug", "info", "warning", "error")
READ_ONLY: Final = ("yes", "no", "auto")
ON_STOP: Final = ("grace", "leave", "stay")
LOG_FORMATS: Final = ("text", "json")
CLIENTS_MAX: Final = 1_000


class Setting(NamedTuple):
    """One row."""

    key: str  # in a file, and behind the dashes of the option
    metavar: str  # of the option
    help: str  # of the option
    kind: Kind
    default: object  # None for none, or if another setting decides; () for a list, whose option may be repeated
    at_run_time: bool = False  # a change takes effect on SIGHUP
    suffix: str = ""  # of the variable

    @property
    def variable(self) -> str:
        """The environment variable."""
        return f"DHTD_{self.field.upper()}{self.suffix}"

    @property
    def field(self) -> str:
        """The field of `Settings`."""
        return self.key.replace("-", "_")

    @property
    def is_flag(self) -> bool:
        """Whether the option stands for itself, without a value."""
        return self.kind is values.FLAG

    @property
    def is_list(self) -> bool:
        """Whether the option may be repeated."""
        return self.default == ()


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of a run, checked."""

    network: str  # a key of `networks.NETWORKS`
    port: int
    bind: tuple[str, ...]  # IP addresses, link-local ones with their zones; none: all that this machine has
    bootstrap: tuple[str, ...]  # HOST:PORT, names not resolved yet
    public_bootstrap: bool  # also by the routers of the network
    read_only: str  # of READ_ONLY; the native network has none of it
    state: Path
    socket: Path
    instance: str
    entries: Path | None  # the directory of the files that declare entries
    socket_group: str | None  # its members may connect as well; not looked up yet
    socket_clients: int  # connections of one user
    http: tuple[str, ...]  # ADDR:PORT, or unix:PATH; none: no HTTP
    http_public: bool  # an address that other machines reach is allowed
    http_tls: tuple[Path, ...]  # files in PEM: certificate and key; none: no TLS
    http_host: tuple[str, ...]  # names by which clients ask for this machine
    http_token: Path | None
    dns: tuple[str, ...]  # ADDR:PORT; none: no DNS
    dns_public: bool  # an address that other machines reach is allowed
    dns_domain: str  # in small letters
    node_id: Id | None  # None: that of the state file, or a new one
    network_key: tuple[Path, ...]  # files; the first one's key seals, every one's opens; none: an open network
    exempt_network: tuple[str, ...]  # CIDR, beside private ranges: limits by network do not apply there
    rate_limit: float  # queries a second and source; 0 is off
    rate_limit_total: float  # queries a second, all sources together; 0 is off
    max_entries: int  # held for others
    max_operations: int  # of clients, under way at once
    cap: tuple[CapNumber, ...]  # other numbers for caps of `Policy`, each cap once
    on_stop: str  # of ON_STOP
    log_level: str  # of LOG_LEVELS
    log_format: str  # of LOG_FORMATS
    origins: Mapping[str, str] = field(compare=False)  # by key: an option, a variable, a file, or "default"


SOCKET: Final = Setting("socket", "PATH", "The control socket.", values.FILE, None)
INSTANCE: Final = Setting(
    "instance", "NAME", "Name for state file and socket.", values.INSTANCE, paths.DEFAULT_INSTANCE
)

NETWORK: Final = Setting("network", "NAME", "native, or mainline: BitTorrent's.", one_of(tuple(NETWORKS)), NATIVE.name)

SETTINGS: Final = (
    NETWORK,
    Setting("port", "PORT", "UDP port.", values.PORT, 1729),
    Setting("bind", "ADDR", "Address to listen on; repeat for more.", values.ADDRESSES, ()),
    Setting("bootstrap", "HOST:PORT", "Node to join through; repeat for more.", values.HOSTS, (), at_run_time=True),
    Setting("public-bootstrap", "", "Join the Mainline network through its well-known routers.", values.FLAG, False),
    Setting("read-only", "HOW", "Answer nobody: yes, no, or auto where nobody can ask.", one_of(READ_ONLY), "auto"),
    Setting("state", "FILE", "The state file.", values.FILE, None),
    SOCKET,
    INSTANCE,
    Setting("entries", "DIR", "Directory of files that declare entries.", values.DIRECTORY, None, at_run_time=True),
    Setting("socket-group", "NAME", "Group with access to the control socket.", values.GROUP, None),
    Setting(
        "socket-clients",
        "N",
        "Connections to the control socket for each user.",
        count_of("connections", 1, CLIENTS_MAX),
        64,  # control.limits has the same
    ),
    Setting("http", "WHERE", "Serve HTTP at ADDR:PORT or unix:PATH; repeat for more.", values.HTTP_ADDRESSES, ()),
    Setting("http-public", "", "Let other machines reach it, by TLS.", values.FLAG, False),
    Setting("http-tls", "FILE", "Certificate of TLS; repeat for a key in another file.", values.TLS_FILES, ()),
    Setting("http-host", "NAME", "A name of this machine that HTTP clients use; repeat for more.", values.NAMES, ()),
    Setting("http-token", "FILE", "The token of HTTP clients.", values.FILE, None),
    Setting("dns", "ADDR:PORT", "Serve DNS at this address; repeat for more.", values.DNS_ADDRESSES, ()),
    Setting("dns-public", "", "Let other machines reach it.", values.FLAG, False),
    Setting("dns-domain", "DOMAIN", "The domain in which DNS answers.", values.DOMAIN, "dht.alt"),
    Setting("node-id", "HEX", "This node's new ID.", values.NODE_ID, None),
    Setting(
        "network-key",
        "FILE",
        "Key of a private network; a second one opens, too.",
        values.KEY_FILES,
        (),
        at_run_time=True,
        suffix="_FILE",  # as others call a secret that is not in the variable itself
    ),
    Setting("exempt-network", "CIDR", "Public network with many nodes of yours; repeat for more.", values.NETWORKS, ()),
    Setting(
        "rate-limit",
        "N",
        "Queries a second answered to each source; 0 is no limit.",
        values.RATE,
        256.0,  # Policy.rate_limit, which a test holds equal: to import it would cost `dht` 2 ms
        at_run_time=True,
    ),
    Setting(
        "rate-limit-total",
        "N",
        "Queries a second answered in all; 0 is no limit.",
        values.RATE,
        131_072.0,  # Policy.rate_limit_total
        at_run_time=True,
    ),
    Setting(
        "max-entries",
        "N",
        "Entries held for others.",
        count_of("entries", 0, 10_000_000),  # the most take 4 GB
        65_536,  # Policy.store_entries
    ),
    Setting(
        "max-operations",
        "N",
        "Commands under way at once.",
        count_of("operations", 1, 100_000),
        256,  # Policy.operations
    ),
    Setting("cap", "NAME=N", "Set a cap, see CAPS in dhtd(8); repeat for more.", values.CAPS, ()),
    Setting("on-stop", "WHAT", "Keep entries half a minute, drop them, or neither.", one_of(ON_STOP), "grace"),
    Setting("log-level", "LEVEL", "debug, info, warning or error.", one_of(LOG_LEVELS), "info", at_run_time=True),
    Setting("log-format", "FORMAT", "text or json.", one_of(LOG_FORMATS), "text", at_run_time=True),
)
NEEDED: Final = ("state", "socket")  # places that a daemon must have
OF_INSTANCE: Final = (*NEEDED, "entries")
NOT_EMPTY: Final = ("network-key",)  # an empty variable is an error: it would make an open node
