"""The mistakes of the ancestor, as faults of the present code: eleven, some of them in several ways.

Each is as true to the ancestor as this code allows. If the code has no place for the old mistake, the change has the
same effect for a user.
"""

from __future__ import annotations

from typing import Final

from tests.faults.fault import Change

ANSWERS: Final = "dhtd/core/querying/answers.py"
CANDIDATES: Final = "dhtd/core/querying/candidates.py"
MEMBERSHIPS: Final = "dhtd/core/membership/memberships.py"
HELD_SAVER: Final = "dhtd/daemon/state/held_saver.py"
METRIC: Final = "dhtd/core/ids.py"
LOOKUP: Final = "dhtd/core/querying/lookup.py"
NODE: Final = "dhtd/core/node.py"
PUBLICATION: Final = "dhtd/core/publishing/publication.py"
PUBLISHER: Final = "dhtd/core/publishing/publisher.py"
RESPONDER: Final = "dhtd/core/serving/responder.py"
SAVER: Final = "dhtd/daemon/state/saver.py"
SEARCH: Final = "dhtd/core/querying/search.py"
STORE: Final = "dhtd/core/storage/store.py"
TIMETABLE: Final = "dhtd/core/publishing/timetable.py"
TRANSACTIONS: Final = "dhtd/core/querying/transactions.py"
TRAVERSAL: Final = "dhtd/core/querying/traversal.py"
UDP: Final = "dhtd/daemon/sockets/udp.py"
WIRE: Final = "dhtd/wire/native_layout.py"

FAULTS: Final[dict[str, tuple[Change, ...]]] = {
    "01 a search learns nothing from answers": (
        Change(
            TRAVERSAL,
            "search.learn(contact.endpoint, own)",
            "search.learn(contact.endpoint, [])",
        ),
    ),
    "02 a search measures from our own ID": (
        Change(
            CANDIDATES,
            "distance = contact.id ^ self._target",
            "distance = contact.id ^ self._own_id",
        ),
        Change(
            SEARCH,
            "closest(named, about, 2 * self._policy.k)",
            "closest(named, self.candidates._own_id, 2 * self._policy.k)",
        ),
    ),
    "03 random IDs have 160 bits": (
        Change(METRIC, "rng.getrandbits(self.bits)", "rng.getrandbits(min(self.bits, 160))"),
    ),
    "03 digests have 160 bits": (
        Change(METRIC, "data, usedforsecurity=False).digest()\n", "data, usedforsecurity=False).digest()[-20:]\n"),
    ),
    "04 a node that queries us is a good contact": (
        Change(
            NODE,
            "import SESSION_SIZE, BadQuery, Error, Query, Reply\n",
            "import SESSION_SIZE, BadQuery, Contact, Error, Query, Reply\n",
        ),
        Change(
            NODE,
            "self.strangers.consider(message, source, len(data), len(answer), now)",
            "self.state.answered(Contact(message.sender, source), None, now)",
        ),
    ),
    "04 a node that answers unasked is a good contact": (
        Change(
            NODE,
            "import SESSION_SIZE, BadQuery, Error, Query, Reply\n",
            "import SESSION_SIZE, BadQuery, Contact, Error, Query, Reply\n",
        ),
        Change(
            NODE,
            "        if query is None:\n",
            "        if query is None:\n            if message.sender is not None:\n"
            "                self.state.answered(Contact(message.sender, source), None, now)\n",
        ),
    ),
    "05 only pings make a contact bad": (
        Change(MEMBERSHIPS, "messages import Contact\n", "messages import Contact, Ping\n"),
        Change(
            MEMBERSHIPS,
            "        if membership is None or query.id is None:\n",
            "        if membership is None or query.id is None or not isinstance(query.request, Ping):\n",
        ),
    ),
    "06 a query with a tid of ours is a crash": (
        Change(
            NODE,
            "        cap = self._limit.refusal(source, now)\n",
            "        assert self.requester.transactions.match(message.tid, source) is None\n"
            "        cap = self._limit.refusal(source, now)\n",
        ),
    ),
    "06 an error packet is a crash": (
        Change(ANSWERS, "        self._counters.errors_received += 1\n", '        raise RuntimeError("an error")\n'),
    ),
    "06 an error packet to nothing is a crash": (
        Change(
            ANSWERS,
            "            self._counters.unmatched += 1\n",
            "            assert not isinstance(message, Error)\n            self._counters.unmatched += 1\n",
        ),
    ),
    "06 a failure to send is a crash": (
        Change(
            UDP,
            "        except OSError as error:\n            self.counters.not_sent",
            "        except TimeoutError as error:\n            self.counters.not_sent",
        ),
    ),
    "07 a store with a bad token is answered with success": (
        Change(
            RESPONDER,
            '            return self._refuse(query, source, ERROR_PROTOCOL, "bad token")\n        # 2. Was',
            "            return self._codec.encode_acknowledged(query.tid, self._own_id_towards(source), source)\n"
            "        # 2. Was",
        ),
    ),
    "08 enter is answered before it publishes": (
        Change(
            PUBLISHER,
            "        self._publish(record_key, now, op, patient=patient)\n",
            "        self._tell(Published(op, record_key.key, record_key.port, (), 0), now)\n"
            "        self._publish(record_key, now, op, patient=patient)\n",
        ),
    ),
    "08 a refused store counts as a replica": (
        Change(
            PUBLICATION,
            "        self._in_flight.discard(query)\n        self._store(len(query.endpoint), now)\n",
            "        self._in_flight.discard(query)\n        assert query.id is not None\n"
            "        self._replicas.append(Contact(query.id, query.endpoint))\n"
            "        self._store(len(query.endpoint), now)\n",
        ),
    ),
    "08 entering twice starts two chains": (
        Change(
            TIMETABLE,
            "            self._timers.set(record_key, when)\n",
            "            self._timers.set((record_key, object()), when)\n",
        ),
        Change(TIMETABLE, "yield due\n", "yield due[0]\n"),
    ),
    "09 a lookup is content with what is held here": (
        Change(
            LOOKUP,
            "        self._add(self._known)\n",
            "        self._add(self._known)\n        if self._known:\n            self._traversal.stop()\n"
            "            self._finished(now)\n            return\n",
        ),
    ),
    "10 nothing is saved while the daemon runs": (
        Change(SAVER, "                await self.save(node)\n", "                pass\n"),
    ),
    "10 entries are never saved": (
        Change(
            HELD_SAVER,
            "else write\n        if restorer is not None:\n            restorer.merged(changed)",
            "else nothing\n        if restorer is not None:\n            restorer.merged(changed)",
        ),
    ),
    "10 own entries are never saved": (
        Change(SAVER, "        await self._in_thread(lambda: self._file.add_own(*entries))\n", "        pass\n"),
    ),
    "10 nobody is told that entries have changed": (
        Change(
            STORE,
            "        if not restored:\n            self.changed.note(key)\n        return outcome\n",
            "        return outcome\n",
        ),
    ),
    "11 the length of contacts overflows its byte": (
        Change(
            WIRE,
            'if size < 256 else b"\\xc5%b%b" % (size.to_bytes(2, "big"), data)',
            'if size < 256 else b"\\xc4%c%b" % (size % 256, data)',
        ),
    ),
    "11 the number of values overflows its field": (
        Change(
            WIRE, 'if size < 16 else b"\\xdc" + size.to_bytes(2, "big")', 'if size < 16 else b"%c" % (0x90 | size % 16)'
        ),
    ),
    "11 the store is unbounded": (
        Change(
            STORE,
            "        if self._size >= self._policy.store_entries:\n            return STORE_ENTRIES\n",
            "",
        ),
    ),
    "11 a dead contact costs a round its timeout": (
        Change(
            TRANSACTIONS,
            "slow = min(max(slow, policy.slow_floor), policy.query_timeout)",
            "slow = policy.query_timeout",
        ),
        Change(
            TRANSACTIONS,
            "late = min(max(late, policy.late_floor), policy.query_timeout)",
            "late = policy.query_timeout",
        ),
    ),
}
