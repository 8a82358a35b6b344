"""The one exception tree.

Each class has a stable `code` for programs, and an exit status of section "EXIT STATUS" of dht(1). Its message tells a
person what went wrong. Codes are a promise: they appear in `--json` output and on the control socket. This file is long
because the tree is one.

Two families never reach a user: `WireError` (a peer sent bytes that are not a message) is counted and answered with
silence, and a plain `ValueError` or `AssertionError` from `dhtd.core` means that our own code misused it.
"""

from __future__ import annotations

from typing import ClassVar

EXIT_DONE = 0
EXIT_NEGATIVE = 1
EXIT_USAGE = 2
EXIT_UNREACHABLE = 3
EXIT_NETWORK = 4
EXIT_INTERRUPTED = 130


class DhtdError(Exception):
    """Base of every error that this program reports to a person or a program."""

    code: ClassVar[str] = "failed"
    exit_status: ClassVar[int] = EXIT_NEGATIVE


# What a peer did.


class WireError(DhtdError):
    """Bytes from the network that are not a message of this version."""

    code = "bad-datagram"


# What the user did: exit status 2.


class UsageError(DhtdError):
    """The request itself is wrong; a retry cannot help."""

    code, exit_status = "usage", EXIT_USAGE


class InvalidId(UsageError, ValueError):
    """Not an ID of this keyspace."""

    code = "invalid-id"


class InvalidEndpoint(UsageError, ValueError):
    """Not an endpoint: a host and a port from 1 to 65535."""

    code = "invalid-endpoint"


class InvalidPort(UsageError, ValueError):
    """Not a port number from 1 to 65535."""

    code = "invalid-port"


class InvalidToken(UsageError, ValueError):
    """Not a store token in hexadecimal."""

    code = "invalid-token"


class InvalidCheck(UsageError, ValueError):
    """Not a check of a service, or one that the daemon does not make."""

    code = "invalid-check"


class InvalidValue(UsageError):
    """Not a value that can be put: too long, or signed by somebody else, or with a seq out of range."""

    code = "invalid-value"


class InvalidPublicKey(UsageError):
    """Not a public key of Ed25519."""

    code = "invalid-public-key"


class InvalidPid(UsageError):
    """Not the process of an entry: nobody has this number, or another user has."""

    code = "invalid-pid"


class UnresolvableHost(UsageError):
    """A host name that does not resolve, or has no address of a family in use."""

    code = "unresolvable-host"


class ConfigError(UsageError):
    """A configuration file or environment variable that cannot be used."""

    code = "bad-configuration"


class ExtraMissing(UsageError):
    """A part of dhtd that is an extra, and is not installed."""

    code = "extra-missing"


class BadRequest(UsageError):
    """A control request that is not one JSON object of a known method with the right parameters."""

    code = "bad-request"


class UnknownMethod(BadRequest):
    """A control request for a method that this daemon does not have."""

    code = "unknown-method"


class FrameTooLarge(BadRequest):
    """A control request longer than the limit of a frame."""

    code = "frame-too-large"


class FrameTooSlow(BadRequest):
    """A control request that was not finished in time."""

    code = "frame-too-slow"


# A clear "no": exit status 1.


class NoPong(DhtdError):
    """The peer did not answer in time."""

    code = "no-pong"


class NotFound(DhtdError):
    """Nobody serves this ID."""

    code = "not-found"


class NotTracked(DhtdError):
    """This node has not entered this ID."""

    code = "not-tracked"


class NewerValue(DhtdError):
    """A newer value is there, so this one is not put."""

    code = "newer-value"


class OtherValue(DhtdError):
    """Another value is there than the one that was to be replaced."""

    code = "cas-mismatch"


class Conflict(DhtdError):
    """The owner of a key has signed two values with the same seq."""

    code = "conflict"


class Busy(DhtdError):
    """The daemon is at its limit of operations."""

    code = "busy"


class TooManyEntries(DhtdError):
    """This node is at its limit of entries, or of ports of one ID."""

    code = "too-many-entries"


class TooManyValues(DhtdError):
    """This node keeps as many values as it can."""

    code = "too-many-values"


class TooManyWatches(DhtdError):
    """This node watches as many IDs as it can."""

    code = "too-many-watches"


class NoThread(DhtdError):
    """The system starts no further thread for the daemon."""

    code = "no-thread"


class NoDescriptor(DhtdError):
    """The system opens no further file for the daemon."""

    code = "no-descriptor"


class NotPermitted(DhtdError):
    """Members of the socket's group may not do this."""

    code = "not-permitted"


class PeerRefused(DhtdError):
    """The peer answered with an error of the protocol."""

    code = "peer-refused"


class PortTaken(DhtdError):
    """Another program has the UDP port."""

    code = "port-taken"


class AddressUnavailable(DhtdError):
    """The address to bind is not one of this machine's."""

    code = "address-unavailable"


class StateError(DhtdError):
    """The state file cannot be used."""

    code = "state-unusable"


class StateLocked(StateError):
    """A running daemon has the state file, or another program has locked its directory."""

    code = "state-locked"


class StateTooNew(StateError):
    """A newer dhtd wrote the state file."""

    code = "state-too-new"


class WrongNetwork(StateError):
    """The state file belongs to a private network, and its key was not given."""

    code = "wrong-network"


class KeyUnusable(DhtdError):
    """The file of a key cannot be read or written, or is not safe."""

    code = "key-unusable"


class KeyExists(KeyUnusable):
    """The file for a new key exists already."""

    code = "key-exists"


class BackupUnusable(DhtdError):
    """The file for a backup cannot be written."""

    code = "backup-unusable"


class BackupExists(BackupUnusable):
    """The file for a backup exists already."""

    code = "backup-exists"


class SocketInUse(DhtdError):
    """A running daemon has the control socket."""

    code = "socket-in-use"


class SocketUnusable(DhtdError):
    """The control socket cannot be made there."""

    code = "socket-unusable"


class SimulationFailed(DhtdError):
    """A simulated network breaks an invariant: a defect, with the event that shows it."""

    code = "simulation-failed"


class GoalMissed(DhtdError):
    """A simulated network has missed the goal of its scenario."""

    code = "goal-missed"


class InternalError(DhtdError):
    """A defect in dhtd."""

    code = "internal-error"


# No daemon to talk to: exit status 3.


class DaemonUnreachable(DhtdError):
    """No daemon answers on the control socket."""

    code, exit_status = "daemon-unreachable", EXIT_UNREACHABLE


class DaemonTimeout(DaemonUnreachable):
    """The daemon took longer than the client's timeout."""

    code = "daemon-timeout"


class SocketForbidden(DaemonUnreachable):
    """The control socket is there, but not for this user."""

    code = "socket-forbidden"


class TooManyClients(DaemonUnreachable):
    """The daemon is at its limit of clients. No request was begun, and another try may find a place."""

    code = "too-many-clients"


class ShuttingDown(DaemonUnreachable):
    """The daemon is stopping and takes no more requests."""

    code = "shutting-down"


# The network could not do it: exit status 4.


class NetworkFailure(DhtdError):
    """The request was right, but the network could not carry it out."""

    code, exit_status = "network-failure", EXIT_NETWORK


class NoPeers(NetworkFailure):
    """This node knows no other node."""

    code = "no-peers"


class NoAnswer(NetworkFailure):
    """None of the nodes asked has answered, so nobody knows."""

    code = "no-answer"


class NotJoined(NetworkFailure):
    """This node is not in its network."""

    code = "not-joined"


class TooFewReplicas(NetworkFailure):
    """Fewer nodes than asked for hold the entry."""

    code = "too-few-replicas"


def by_code(code: str) -> type[DhtdError]:
    """Return the class with this `code`, or `DhtdError` for the unknown code of a newer daemon."""
    return _CLASSES.get(code, DhtdError)


def _collect(root: type[DhtdError]) -> dict[str, type[DhtdError]]:
    found = {root.code: root}
    for child in root.__subclasses__():
        found.update(_collect(child))
    return found


_CLASSES = _collect(DhtdError)
