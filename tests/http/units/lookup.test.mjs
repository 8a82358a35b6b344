// Lookups from their steps, what is measured of them, and the nodes that they name.

import assert from "node:assert/strict"
import { test } from "node:test"

import { Lookup } from "../../../dhtd/http/page/lookup.js"
import { HEARD_FOR, HEARD_MOST, Network } from "../../../dhtd/http/page/network.js"
import { quantile, Recorder } from "../../../dhtd/http/page/recorder.js"

const TARGET = "0".repeat(64)

function id(first) {
  return first.padEnd(64, "f")
}

function asked(query, at_ms, first, more = {}) {
  return { step: "asked", query, at_ms, key: query, node_id: id(first), endpoint: `10.0.0.${query}:1`, hop: 1, bits: null, named_by: [], ...more }
}

function answered(query, at_ms, rtt_ms, more = {}) {
  return { step: "answered", query, at_ms, rtt_ms, gained: 0, nodes: [], peers: [], late: false, ...more }
}

function lookup(...steps) {
  const made = new Lookup(1, TARGET, "lookup", "own", 0)
  for (const step of steps) made.add(step)
  return made
}

test("a query has the state of its latest step", () => {
  const [query] = lookup(asked(1, 10, "8"), { step: "slow", query: 1, at_ms: 50 }, answered(1, 90, 80)).queries
  assert.deepEqual([5, 10, 49, 50, 89, 90].map(at => Lookup.stateAt(query, at)), [null, "asked", "asked", "slow", "slow", "answered"])
})

test("a silent query never comes back", () => {
  const [query] = lookup(asked(1, 0, "8"), { step: "silent", query: 1, at_ms: 900 }).queries
  assert.equal(Lookup.stateAt(query, 900), "silent")
  assert.equal(Lookup.wayAt(query, 450), 1)
})

test("half of the round trip is the way out and half the way back", () => {
  const [query] = lookup(asked(1, 100, "8"), answered(1, 140, 40)).queries
  assert.deepEqual([100, 110, 120, 130, 140, 200].map(at => Lookup.wayAt(query, at)), [0, 0.5, 1, 1.5, 2, 2])
})

test("a query that is under way stays at its node", () => {
  const [query] = lookup(asked(1, 0, "8")).queries
  assert.equal(Lookup.wayAt(query, 10), 1)
})

test("an answer without a round trip is not drawn on its way", () => {
  const [query] = lookup(asked(1, 0, "8"), answered(1, 50, null)).queries
  assert.deepEqual([Lookup.wayAt(query, 20), Lookup.wayAt(query, 50)], [1, 2])
})

test("steps are in order however they come", () => {
  const made = lookup(asked(1, 0, "8"), answered(1, 30, 30), asked(2, 10, "4"))
  assert.deepEqual(made.moments.map(moment => moment.at), [0, 10, 30])
})

test("a lookup closes in by the nodes that are named", () => {
  const named = [{ id: id("08"), endpoint: "a" }, { id: id("4"), endpoint: "b" }]
  const made = lookup(asked(1, 0, "4"), answered(1, 20, 20, { nodes: named, gained: 3 }), asked(2, 21, "08"))
  assert.deepEqual(made.closing(), [[0, 1], [20, 4]])
  assert.deepEqual([made.nearestAt(10), made.nearestAt(20)], [1, 4])
})

test("bits that were gained count where names were left out", () => {
  const made = lookup(asked(1, 0, "4"), answered(1, 20, 20, { gained: 7 }))
  assert.deepEqual(made.closing().at(-1), [20, 8])
})

test("in a ring only nodes before the target are near", () => {
  const made = new Lookup(1, `8${"0".repeat(63)}`, "lookup", "own", 0)
  made.add(asked(1, 0, "9"))
  assert.ok(made.closing(true)[0][1] < 0.3)
  made.add(asked(2, 5, "6"))
  assert.ok(made.closing(true).at(-1)[1] > 2.9)
})

test("the endpoints of all answers are found once", () => {
  const made = lookup(asked(1, 0, "8"), answered(1, 9, 9, { peers: ["a:1", "b:2"] }), asked(2, 1, "4"), answered(2, 9, 8, { peers: ["b:2"] }))
  assert.deepEqual(made.peers, ["a:1", "b:2"])
  made.result = ["a:1"]
  assert.deepEqual(made.peers, ["a:1"])
})

test("a lookup is as long as its summary says", () => {
  const made = lookup(asked(1, 0, "8"), answered(1, 9, 9))
  assert.deepEqual([made.duration, made.isOver], [9, false])
  made.end({ elapsed_ms: 12 })
  assert.deepEqual([made.duration, made.isOver], [12, true])
})

test("quantiles are values that were measured", () => {
  assert.equal(quantile([], 0.5), null)
  assert.equal(quantile([1, 2, 3, 4], 0.5), 2)
  assert.equal(quantile([1, 2, 3, 4], 0.99), 4)
  assert.equal(quantile([5], 0.01), 5)
})

test("a lookup that was cut short is not measured", () => {
  const recorder = new Recorder()
  for (const [op, more] of [[1, {}], [2, { cancelled: true }], [3, { responses: 0 }]]) {
    recorder.begun({ op, id: TARGET, purpose: "lookup", at: op }, "own")
    recorder.ended({ op, hops: 2, elapsed_ms: 10, responses: 3, cancelled: false, ...more })
  }
  assert.deepEqual(recorder.measured(), { count: 1, p50: 10, p99: 10, hops: { 2: 1 } })
})

test("old lookups make room", () => {
  const recorder = new Recorder()
  for (let op = 0; op < 1_000; op += 1) recorder.begun({ op, id: TARGET, purpose: "lookup", at: op }, "own")
  assert.ok(recorder.lookups.length <= 300)
  assert.equal(recorder.get(0), undefined)
  assert.equal(recorder.get(999).op, 999)
})

test("a slot is used again after its node has gone", () => {
  const net = new Network()
  const first = net.put("a", { id: id("1"), endpoint: "a" })
  net.put("b", { id: id("2"), endpoint: "b" })
  net.drop("a")
  assert.equal(net.at("a"), undefined)
  assert.equal(net.put("c", { id: id("3"), endpoint: "c" }).slot, first.slot)
  assert.deepEqual(net.sorted().map(node => node.key), ["b", "c"])
})

test("a node that moves is found at its new endpoint alone", () => {
  const net = new Network()
  net.put(1, { id: id("1"), endpoint: "a" })
  net.put(1, { id: id("2"), endpoint: "b" })
  assert.equal(net.at("a"), undefined)
  assert.equal(net.at("b").id, id("2"))
})

test("a node is our own wherever it was known from", () => {
  const net = new Network()
  net.put("a", { id: id("1"), endpoint: "a", standing: "heard" })
  const own = net.put("a", { id: id("1"), endpoint: "a", standing: "own" })
  assert.equal(net.own, own)
  net.drop("a")
  assert.equal(net.own, null)
})

test("a round trip that changes makes a new table", () => {
  const net = new Network()
  net.put("a", { id: id("1"), endpoint: "a", rtt: 5 })
  const { measured } = net
  net.put("a", { rtt: 5 })
  assert.equal(net.measured, measured)
  net.put("a", { rtt: 6 })
  assert.equal(net.measured, measured + 1)
})

test("only what a picture shows makes a new version", () => {
  const net = new Network()
  net.put("a", { id: id("1"), endpoint: "a", standing: "good" })
  const { version } = net
  net.put("a", { rtt: 5 })
  assert.equal(net.version, version)
  net.put("a", { standing: "bad" })
  assert.equal(net.version, version + 1)
})

test("of too many nodes that were only named, the latest stay", () => {
  const net = new Network()
  net.put("own", { id: id("1"), endpoint: "own", standing: "own" })
  for (let at = 0; at < HEARD_MOST + 100; at += 1) net.put(at, { id: id("2"), endpoint: String(at), standing: "heard", seen: at / 1e6 })
  net.forget(1)
  assert.equal(net.count, HEARD_MOST + 1)
  assert.deepEqual([net.get(99), net.get(100).key], [undefined, 100])
})

test("what is under way when events are missed is over", () => {
  const recorder = new Recorder()
  for (const op of [1, 2]) recorder.begun({ op, id: TARGET, purpose: "lookup", at: op }, "own")
  recorder.miss()
  assert.deepEqual(recorder.lookups.map(each => [each.isOver, each.summary.lost]), [[true, true], [true, true]])
  recorder.ended({ op: 2, hops: 2, elapsed_ms: 10, responses: 3, cancelled: false }) // it is told yet
  assert.deepEqual([recorder.get(2).summary.hops, recorder.measured().count], [2, 1])
  recorder.reset()
  assert.deepEqual([recorder.lookups.length, recorder.measured().count], [0, 0])
})

test("nodes that were only named are forgotten", () => {
  const net = new Network()
  net.put("a", { id: id("1"), endpoint: "a", standing: "heard", seen: 100 })
  net.put("b", { id: id("2"), endpoint: "b", standing: "good", seen: 0 })
  net.forget(100 + HEARD_FOR)
  assert.equal(net.count, 2)
  net.forget(101 + HEARD_FOR)
  assert.deepEqual([...net.all()].map(node => node.key), ["b"])
})
