"""Real resolvers with the files of `dht dns-setup`, and programs that ask them as they ask for any name.

All is in a namespace with nothing but loopback. /etc/resolv.conf is another one in a mount namespace of the programs.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Final

import pytest

from tests.e2e.daemons import DEADLINE, POLL, Daemon, Network
from tests.mainline.island import SUBNET, island
from tests.netns.lab import LabError, run

AT: Final = "127.0.0.1"
RESOLVED: Final = Path("/lib/systemd/systemd-resolved")
Start = Callable[[Network, Daemon], AbstractContextManager[None]]


@contextmanager
def _namespace() -> Iterator[None]:
    try:
        with island():
            yield
    except LabError as error:
        pytest.skip(f"no namespace: {error}")


def _needs(program: str, package: str) -> str:
    found = shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if found is None:
        pytest.skip(f"{program} is not installed: apt-get install {package}")
    return found


@contextmanager
def running(command: list[str]) -> Iterator[None]:
    """Have a program run meanwhile."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield
        finally:
            process.kill()


def _drop_in(network: Network, daemon: Daemon, resolver: str) -> Path:
    file = network.directory / f"{resolver}.conf"
    [drop_in] = network.dht(daemon, "dns-setup", resolver)["drop_ins"]
    file.write_text(drop_in["text"], encoding="utf-8")
    return file


def _dnsmasq(network: Network, daemon: Daemon) -> AbstractContextManager[None]:
    program = _needs("dnsmasq", "dnsmasq-base")
    file = _drop_in(network, daemon, "dnsmasq")
    given = ["--keep-in-foreground", "--no-resolv", "--no-hosts", "--bind-interfaces", f"--listen-address={AT}"]
    more = ["--user=root", "--stop-dns-rebind", "--pid-file=", f"--conf-file={file}"]
    return running([program, *given, *more])


def _unbound(network: Network, daemon: Daemon) -> AbstractContextManager[None]:
    program = _needs("unbound", "unbound")
    file = _drop_in(network, daemon, "unbound")
    main = network.directory / "main.conf"
    anchor = Path("/usr/share/dns/root.key")
    validate = f'    auto-trust-anchor-file: "{network.directory}/root.key"\n' if anchor.exists() else ""
    if validate:
        shutil.copy(anchor, network.directory / "root.key")
    main.write_text(
        f'server:\n    interface: {AT}\n    username: ""\n    chroot: ""\n    pidfile: ""\n    use-syslog: no\n'
        f'    private-address: 10.0.0.0/8\n{validate}include: "{file}"\nremote-control:\n    control-enable: no\n',
        encoding="utf-8",
    )
    return running([program, "-d", "-c", str(main)])


def _systemd_resolved(network: Network, daemon: Daemon) -> AbstractContextManager[None]:
    """Start it with a /run of its own, without a bus, and as root, whose name it looks up."""
    if not RESOLVED.exists():
        pytest.skip(f"there is no {RESOLVED}: its package would take over the names of this machine")
    # Without a link that has an address, it believes that the network is down.
    run("ip", "link", "add", "up0", "type", "veth", "peer", "name", "up1")
    for link in ("up0", "up1"):
        run("ip", "link", "set", link, "up")
    run("ip", "address", "add", "10.78.0.1/24", "dev", "up0")
    file = _drop_in(network, daemon, "systemd-resolved")
    users = network.directory / "passwd"
    users.write_text(f"{Path('/etc/passwd').read_text(encoding='utf-8')}systemd-resolve:x:0:0::/:/bin/false\n")
    script = f"""
        mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/resolve /run/systemd/netif /run/systemd/resolved.conf.d
        mount --bind {users} /etc/passwd
        printf '[Resolve]\\nDNSStubListenerExtra={AT}\\n' >/run/systemd/resolved.conf.d/extra.conf
        cp {file} /run/systemd/resolved.conf.d && exec {RESOLVED}
    """
    return running(["unshare", "--mount", "bash", "-e", "-c", script])


def _nobody(network: Network, daemon: Daemon) -> AbstractContextManager[None]:
    """Start nothing: the daemon itself is asked, at port 53."""
    return nullcontext()


def _run(network: Network, *command: str) -> str:
    """Run a program whose /etc/resolv.conf names `AT` alone; return what it prints."""
    file = network.directory / "resolv.conf"
    file.write_text(f"nameserver {AT}\noptions timeout:2 attempts:2\n", encoding="utf-8")
    there = os.path.realpath("/etc/resolv.conf")
    script = 'mount --bind "$0" "$1" && shift && exec "$@"'
    done = subprocess.run(
        ["unshare", "--mount", "bash", "-c", script, str(file), there, *command],
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE,
    )
    return done.stdout


def _wait_for(network: Network, command: list[str], holds: Callable[[str], bool]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not holds(said := _run(network, *command)):
        assert time.monotonic() < deadline, said
        time.sleep(POLL)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("dig") is None, reason="dig is not installed: apt-get install bind9-dnsutils")
@pytest.mark.parametrize(
    ("start", "port"), [(_dnsmasq, 1753), (_unbound, 1753), (_systemd_resolved, 1753), (_nobody, 53)]
)
def test_programs_reach_a_service_by_its_name(start: Start, port: int) -> None:
    with _namespace(), Network(SUBNET) as network:
        [daemon] = network.start(1, f"--dns={AT}:{port}")
        owner, _ = network.start(2)
        network.dht(daemon, "bootstrap", owner.endpoint)
        (network.directory / "index.html").write_text("this is the wiki\n", encoding="utf-8")
        server = [sys.executable, "-m", "http.server", "8080", "--bind", owner.address]
        web = [*server, "--directory", str(network.directory)]
        with running(web), start(network, daemon):
            network.dht(owner, "enter", "wiki", "8080")
            network.dht(owner, "enter", "wiki.example.org", "8080")
            dig = ["dig", "+tries=1", "+time=3"]
            _wait_for(network, [*dig, "+short", "wiki.dht.alt"], lambda said: said == f"{owner.address}\n")
            # 1. Each type, by UDP and TCP, with and without EDNS.
            label = f"{owner.address.replace('.', '-')}.addr.dht.alt."
            for more in ([], ["+tcp"], ["+noedns"], ["+bufsize=1232", "+dnssec"]):
                assert _run(network, *dig, *more, "+short", "wiki.dht.alt", "SRV") == f"0 0 8080 {label}\n"
            assert _run(network, *dig, "+short", "_http._tcp.wiki.dht.alt", "SRV") == f"0 0 8080 {label}\n"
            assert _run(network, *dig, "+short", "wiki.dht.alt", "TXT") == f'"{owner.address}:8080"\n'
            assert _run(network, *dig, "+short", "wiki.example.org.dht.alt") == f"{owner.address}\n"
            assert "status: NXDOMAIN" in _run(network, *dig, "nobody.dht.alt")
            nothing = _run(network, *dig, "wiki.dht.alt", "AAAA")
            assert "status: NOERROR" in nothing
            assert "ANSWER: 0" in nothing
            # 2. Programs that know nothing of this.
            assert _run(network, "getent", "hosts", "wiki.dht.alt").split() == [owner.address, "wiki.dht.alt"]
            curl = ["curl", "--silent", "--show-error", "--noproxy", "*", "--max-time", "20"]
            _wait_for(network, [*curl, "http://wiki.dht.alt:8080"], lambda said: said == "this is the wiki\n")
            # 3. The entry is gone, and then it is here no longer.
            network.dht(owner, "delete", "wiki")
            _wait_for(network, [*dig, "wiki.dht.alt"], lambda said: "status: NXDOMAIN" in said)
