"""`dht dns-setup`: what a resolver of this machine must be told to ask the daemon for its domain."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Final, NamedTuple

import typer

from dhtd.cli.output import JsonOption, Verb, session
from dhtd.cli.told import Told
from dhtd.core.endpoint import split_host_port
from dhtd.errors import ConfigError, InvalidEndpoint, InvalidPort, UsageError

SCHEME: Final = "dns://"


class Server(NamedTuple):
    """An address at which the daemon serves DNS."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class DropIn:
    """A file for a resolver."""

    resolver: str
    file: str
    text: str


@dataclass(frozen=True, slots=True)
class Setup:
    """What is printed as JSON."""

    domain: str
    drop_ins: list[DropIn]


def _systemd_resolved(domain: str, servers: Sequence[Server]) -> str:
    hosts = [f"[{each.host}]" if ":" in each.host else each.host for each in servers]
    listed = " ".join(f"{host}:{each.port}" for host, each in zip(hosts, servers, strict=True))
    return f"[Resolve]\nDNS={listed}\nDomains=~{domain}\n"


def _dnsmasq(domain: str, servers: Sequence[Server]) -> str:
    lines = [f"server=/{domain}/{each.host}#{each.port}" for each in servers]
    return "\n".join([*lines, f"rebind-domain-ok=/{domain}/", ""])


def _unbound(domain: str, servers: Sequence[Server]) -> str:
    lines = ["server:", "    do-not-query-localhost: no", f'    domain-insecure: "{domain}"']
    lines += [f'    private-domain: "{domain}"', f'    local-zone: "{domain}." transparent']
    lines += ["stub-zone:", f'    name: "{domain}"']
    lines += [f"    stub-addr: {each.host}@{each.port}" for each in servers]
    return "\n".join([*lines, ""])


RESOLVERS: Final[dict[str, tuple[str, Callable[[str, Sequence[Server]], str]]]] = {
    "systemd-resolved": ("/etc/systemd/resolved.conf.d/dhtd.conf", _systemd_resolved),
    "dnsmasq": ("/etc/dnsmasq.d/dhtd.conf", _dnsmasq),
    "unbound": ("/etc/unbound/unbound.conf.d/dhtd.conf", _unbound),
}


def dns_setup(
    context: typer.Context,
    resolver: Annotated[
        str | None,
        typer.Argument(
            metavar="[RESOLVER]",
            help="systemd-resolved, dnsmasq or unbound; without it, all of them.",
            autocompletion=lambda: list(RESOLVERS),
            show_default=False,
        ),
    ] = None,
    *,
    json: JsonOption = False,
) -> None:
    """Print settings for a DNS resolver. With these, it asks the daemon for the names of its domain."""
    if resolver not in {None, *RESOLVERS}:
        raise UsageError(f"{resolver!r} is none of {', '.join(RESOLVERS)}")
    options = session(context, json=json)
    with options.client() as client:
        told = Told(client.info("node")).part("node")
        domain, servers = served(told.texts("doors"))
        wanted = list(RESOLVERS) if resolver is None else [resolver]
        drop_ins = [drop_in(each, domain, servers) for each in wanted]
        body = asdict(Setup(domain, drop_ins))
        lines = [line for each in drop_ins for line in (f"# {each.file}", *each.text.splitlines())]
        options.show(Told(body, gaps=told.gaps), lines, client)


def served(doors: Sequence[str]) -> tuple[str, list[Server]]:
    """Return the domain and the addresses of the doors of a daemon that are of DNS; raise `ConfigError` for none."""
    domain, servers = "", []
    for door in doors:
        place, slash, rest = door.removeprefix(SCHEME).partition("/")
        if not door.startswith(SCHEME) or not slash:
            continue
        try:
            servers.append(Server(*split_host_port(place)))
        except (InvalidEndpoint, InvalidPort):
            continue
        domain = rest
    if not servers:
        raise ConfigError("this daemon serves no DNS: start it with --dns 127.0.0.1:1753")
    return domain, servers


def drop_in(resolver: str, domain: str, servers: Sequence[Server]) -> DropIn:
    """Return the file for a resolver."""
    file, write = RESOLVERS[resolver]
    return DropIn(resolver, file, write(domain, servers))


def register(app: typer.Typer) -> None:
    """Add the verb."""
    examples = "dht dns-setup\ndht dns-setup unbound | sudo tee /etc/unbound/unbound.conf.d/dhtd.conf"
    app.command("dns-setup", cls=Verb, epilog=examples)(dns_setup)
