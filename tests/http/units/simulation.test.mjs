// The source of a simulated network: answers that come late, another run at the same address, and the past.

import assert from "node:assert/strict"
import { test } from "node:test"

import { Problem } from "../../../dhtd/http/page/api.js"
import { Network } from "../../../dhtd/http/page/network.js"
import { Past } from "../../../dhtd/http/page/past.js"
import { Recorder } from "../../../dhtd/http/page/recorder.js"
import { Simulation } from "../../../dhtd/http/page/simulation.js"
import { ids } from "./made.mjs"

const IDS = ids(20, 1)
const STATE = {
  run: "one", overlay: "kademlia", now: 100, kept_from: 0, ends: 900, speed: 1, reached: 1, running: true, live: 3, failed: null,
  p50_ms: null, hops: {}, asked: 0, found: 0, queries_s: 0, command: "dhtd simulate",
}
const row = (n, isLive = true) => [n, IDS[n], `10.0.0.${n}:1`, isLive, 0]
const up = (serial, n, at = 100) => ({ serial, at, kind: "node-up", n, id: IDS[n], endpoint: `10.0.0.${n}:1` })
const down = (serial, n, at = 100) => ({ serial, at, kind: "node-down", n, id: IDS[n], how: "" })
const begun = (serial, op, at = 100) => ({ serial, at, kind: "lookup-begun", op, n: 0, id: IDS[0], purpose: "lookup" })
const ended = (serial, op, at = 100) => ({ serial, at, kind: "lookup-ended", op, hops: 2, responses: 3, queries: 3, elapsed_ms: 9, cancelled: false })

// A simulation whose requests wait until a test answers them.
function made() {
  const waiting = []
  const told = []
  const api = { ask: (path, how) => new Promise((resolve, reject) => waiting.push({ path, how, resolve, reject })) }
  const note = name => (...what) => told.push([name, ...what])
  const tell = Object.fromEntries(
    ["status", "problem", "failed", "time", "begun", "figures", "changed", "cleared", "choose"].map(name => [name, note(name)]),
  )
  const network = new Network()
  const source = new Simulation(api, network, new Recorder(), tell)
  source._has(STATE)
  const nodes = () => Object.fromEntries([...network.all()].map(node => [node.key, node.standing]))
  return { source, network, waiting, told, nodes }
}

const settled = () => new Promise(resolve => { setImmediate(resolve) })

async function answer(waiting, body) {
  const asked = waiting.shift()
  if (body instanceof Error) asked.reject(body)
  else asked.resolve(body)
  await settled()
  return asked.path
}

test("nodes that come and go while their list is on its way are right", async () => {
  const { source, waiting, nodes } = made()
  source._connected(true)
  source._hear([up(10, 3), down(11, 1), up(12, 4), down(13, 4)])
  await answer(waiting, { last: 10, nodes: [row(1), row(2), row(3)] }) // it is older than three of them
  assert.deepEqual(nodes(), { 1: "dead", 2: "live", 3: "live", 4: "dead" })
})

test("what is older than the list of nodes is not done again", async () => {
  const { source, waiting, nodes } = made()
  source._connected(true)
  source._hear([up(9, 5)])
  await answer(waiting, { last: 10, nodes: [row(5, false)] }) // that it went is on its way
  assert.deepEqual(nodes(), { 5: "dead" })
})

test("an older list of nodes changes nothing", async () => {
  const { source, waiting, nodes } = made()
  source._connected(true)
  source._connected(true)
  const [first] = waiting.splice(0, 1)
  await answer(waiting, { last: 20, nodes: [row(1)] })
  first.resolve({ last: 10, nodes: [row(2)] })
  await settled()
  assert.deepEqual(nodes(), { 1: "live" })
})

test("another run at the same address begins with nothing", async () => {
  const { source, waiting, nodes } = made()
  source._connected(true)
  await answer(waiting, { last: 90, nodes: [row(1), row(2)] })
  source._hear([begun(91, 7)])
  source.past = new Past(50, 0)
  source._hear([{ kind: "missed", serial: 3, at: null, count: null }, { ...STATE, kind: "state", run: "two", now: 1 }])
  assert.equal(source.past, null)
  assert.deepEqual([nodes(), source.recorder.lookups.length], [{}, 0])
  while (waiting.length) await answer(waiting, { last: 3, nodes: [row(5)] })
  assert.deepEqual(nodes(), { 5: "live" })
})

test("the latest wish for a moment counts, whichever answer is first", async () => {
  const { source, waiting, nodes } = made()
  const wishes = [source.goTo(10), source.goTo(20)]
  const [first] = waiting.splice(0, 1)
  assert.equal(await answer(waiting, { nodes: [row(2)] }), "v1/simulation/nodes?at=20.000000")
  assert.equal(await answer(waiting, { cut: false, events: [] }), "v1/simulation/happenings?from=15.000000&to=30.000000")
  first.resolve({ nodes: [row(1)] })
  await Promise.all(wishes)
  assert.deepEqual([nodes(), waiting.length], [{ 2: "live" }, 0])
})

test("one who goes back to now before the past is there stays there", async () => {
  const { source, waiting } = made()
  const wish = source.goTo(10)
  source.live()
  await answer(waiting, { nodes: [row(1)] })
  await wish
  assert.deepEqual([source.past, waiting.length], [null, 0])
})

test("a moment that is refused leaves the picture as it is", async () => {
  const { source, waiting, told, nodes } = made()
  source._connected(true)
  await answer(waiting, { last: 1, nodes: [row(1), row(2)] })
  told.length = 0
  const wish = source.goTo(10)
  await answer(waiting, new Problem("who was up is known from 11 on", 400))
  await wish
  assert.deepEqual([nodes(), source.past], [{ 1: "live", 2: "live" }, null])
  assert.deepEqual(told, [["problem", "who was up is known from 11 on", "request"]])
})

test("a moment before what is known is the first that is known", async () => {
  const { source, waiting } = made()
  source.state = { ...STATE, kept_from: 37.5 }
  source.goTo(37)
  assert.equal(waiting[0].path, "v1/simulation/nodes?at=37.500000")
})

test("an event at the end of a span is taken once", async () => {
  const { source, waiting } = made()
  const wish = source.goTo(50)
  await answer(waiting, { nodes: [row(0)] })
  await answer(waiting, { cut: true, events: [begun(1, 1, 49), begun(2, 2, 51)] })
  await wish
  assert.equal(source.past.until, 51)
  const next = source._readPast(51)
  await answer(waiting, { cut: false, events: [begun(2, 2, 51), ended(3, 2, 51), begun(4, 3, 52)] })
  await next
  assert.deepEqual(source.recorder.lookups.map(each => [each.op, each.isOver]), [[1, false], [2, true], [3, false]])
})

test("a span that is cut at its beginning is over", async () => {
  const { source, waiting } = made()
  const wish = source.goTo(50)
  await answer(waiting, { nodes: [row(0)] })
  await answer(waiting, { cut: true, events: [] })
  await wish
  assert.equal(source.past.until, 60)
})

test("nodes of the past come and go at their time", () => {
  const past = new Past(50, 0)
  past.take([down(1, 1, 49), down(2, 2, 50), up(3, 3, 51), down(4, 3, 53)], 60, 0)
  assert.deepEqual(past.due(0.9), [])
  assert.deepEqual(past.due(2).map(event => event.serial), [3])
  past.setRate(0, 2)
  assert.deepEqual([past.shown(99), past.due(99)], [52, []])
  past.setRate(10, 99)
  assert.deepEqual(past.due(100).map(event => event.serial), [4])
  assert.equal(past.shown(1_000), 60) // no farther than what is known
})

test("what is asked of a speed without a number is no time", () => {
  const { source, told } = made()
  told.length = 0
  source._hear([{ ...STATE, kind: "state", speed: "max", reached: 0 }])
  assert.deepEqual(told.find(([name]) => name === "time"), ["time", 100, 0])
})

test("lookups are asked for from the chosen node, if it lives", async () => {
  const { source, network, waiting } = made()
  const node = network.put(3, { id: IDS[3], endpoint: "a", standing: "live" })
  source.lookUp("", node)
  network.put(3, { standing: "dead" })
  source.lookUp("ABC", node)
  source.lookUp("", null)
  assert.deepEqual(waiting.map(each => each.how.body), [
    { n: 3, id: null, count: 1 }, { n: null, id: "abc", count: 1 }, { n: null, id: null, count: 1 },
  ])
})

test("a failed run stays told when a request goes well", async () => {
  const { source, waiting, told } = made()
  source._hear([{ ...STATE, kind: "state", failed: { message: "a hole", replay: "dhtd simulate --stop-at 9" } }])
  const wish = source.setSpeed(2)
  await answer(waiting, null)
  await wish
  assert.deepEqual(told.filter(([name]) => name === "failed").at(-1), ["failed", "a hole. To see it again: dhtd simulate --stop-at 9"])
  assert.deepEqual(told.at(-1), ["problem", null, "request"])
})

test("lists of events, spans and nodes have their bounds", async () => {
  const { source, network } = made()
  for (let serial = 1; serial <= 50_000; serial += 5) {
    const n = serial % 20
    source._hear([up(serial, n), begun(serial + 1, serial), ended(serial + 2, serial), down(serial + 3, n, serial), { ...STATE, kind: "state", now: serial + 100 }])
  }
  assert.ok(source.recorder.lookups.length <= 300)
  assert.ok(network.slots.length <= 20 && network.count <= 20)
  assert.deepEqual([source._journals.size, source._awaited.size], [0, 0])
})
