// The source of a running daemon: its contacts, its entries, its counters, and what it does, by its HTTP door.

import { Feed, Problem } from "./api.js"
import { HEARD_MOST } from "./network.js"
import { count } from "./words.js"

const COUNTERS_EVERY = 1_000 // milliseconds
const TABLE_EVERY = 4_000
const ENTRIES_EVERY = 15_000
const PAGE = 1_000 // rows
const PAGES = 5
const CROWD = 2 * HEARD_MOST // nodes

export class Daemon {
  constructor(api, network, recorder, tell) {
    this.kind = "daemon"
    this.api = api
    this.network = network
    this.recorder = recorder
    this.tell = tell // see main.js
    this.info = null // the section `node`
    this.counters = null
    this.rates = { out: null, in: null }
    this.buckets = []
    this._before = null
    this._pinned = null // a lookup of which all nodes stay in the picture
    this._isCut = false // a request got no answer
    this._timers = []
    this.isStopped = false
  }

  // Start; raises a `Problem` where the daemon does not let us in.
  async start() {
    await this._readNode()
    await this._readTable()
    this.feed = new Feed("v1/events", this.api.token, {
      events: events => this._take(events),
      connected: is => this._connected(is),
      refused: text => this.tell.refused(text),
    })
    this._every(COUNTERS_EVERY, () => this._readCounters())
    this._every(TABLE_EVERY, async () => {
      await this._readNode()
      await this._readTable()
    })
    this._every(ENTRIES_EVERY, () => this._readEntries())
  }

  stop() {
    this.isStopped = true
    this.feed?.close()
    for (const timer of this._timers) clearTimeout(timer)
  }

  about() {
    const { info } = this
    const names = { native: "native network", mainline: "Mainline network" }
    return `${info.node_id.slice(0, 8)}… ${info.endpoints.join(", ")} · ${names[info.network] ?? info.network} · ${info.connected ? "joined" : "not joined"}`
  }

  // Look up an ID or a name, and replay the search. Resolves with a sentence.
  async lookUp(text) {
    const isId = new RegExp(`^[0-9a-f]{${this.network.bits / 4}}$`, "i").test(text)
    const target = isId ? text.toLowerCase() : `name:${encodeURIComponent(text)}`
    const before = new Set(this.recorder.lookups)
    const told = await this.api.ask(`v1/trace/${target}`)
    const lookup = (await this._seen(told.id, before)) ?? this._made(told)
    lookup.name = told.name
    lookup.result = told.peers
    this.recorder.version += 1
    this.tell.choose(lookup)
    return told.peers.length
      ? `${count(told.peers.length, "endpoint")}: ${told.peers.join(", ")}`
      : `Nobody serves it: ${count(told.stats.responses, "node")} answered.`
  }

  // The search as the events have told it, which may come a little later than the answer.
  async _seen(id, before) {
    for (let look = 0; look < 10; look += 1) {
      const found = this.recorder.lookups.findLast(each => each.target === id && each.purpose === "lookup" && !before.has(each))
      if (found?.isOver) return found
      await new Promise(resolve => { setTimeout(resolve, 50) })
    }
    return null
  }

  // The search as the answer has told it, where the events left it out.
  _made(told) {
    const ended = Date.now() / 1000
    const event = { op: `page ${ended}`, id: told.id, purpose: "lookup", at: ended - told.stats.elapsed_ms / 1000 }
    const lookup = this.recorder.begun(event, this.network.own?.key)
    for (const step of told.steps) this._step({ ...step, op: event.op })
    this.recorder.ended({ op: event.op, cancelled: false, ...told.stats })
    return lookup
  }

  // Have all nodes of a lookup in the picture, where some may be forgotten, for as long as it is replayed.
  remember(lookup) {
    this._pinned = lookup
    for (const query of lookup?.queries ?? []) {
      this._hear(query.endpoint, query.id)
      for (const node of query.nodes) this._hear(node.endpoint, node.id)
    }
  }

  actions() {
    return []
  }

  async describe(node) {
    if (!node) return { facts: [], links: [], successors: [], buckets: this.buckets }
    const facts = []
    if (node.lastActivity !== undefined && node.lastActivity !== null) {
      facts.push(["last message", `${seconds(node.lastActivity)} ago`])
    }
    if (node.timeouts) facts.push(["without an answer", `${node.timeouts} in a row`])
    if (node.standing === "heard") facts.push(["known from", "answers of lookups; it is no contact"])
    return { facts, links: [], successors: [], buckets: this.buckets }
  }

  figures() {
    return {
      size: this.info?.network_size ?? null,
      out: this.rates.out,
      in: this.rates.in,
      limits: this.counters?.caps_hit ?? null,
      ...this.recorder.measured(),
      what: "searches since the page was opened",
    }
  }

  _connected(is) {
    if (this.isStopped) return
    this.isConnected = is
    this.tell.status(is, is ? null : "The daemon does not answer. The page tries again by itself.")
    if (is) this._soon()
  }

  _every(period, work) {
    const at = this._timers.length
    const run = async () => {
      try {
        if (document.hidden) return
        await work()
        if (this._isCut && this.isConnected) this._connected(true)
        this._isCut = false
      } catch (error) {
        if (!(error instanceof Problem)) throw error
        if (error.status === 401) this.tell.refused(error.message)
        else if (error.status) this.tell.problem(error.message)
        else {
          this._isCut = true
          this.tell.status(false, "The daemon does not answer. The page tries again by itself.")
        }
      } finally {
        if (!this.isStopped) this._timers[at] = setTimeout(run, period)
      }
    }
    this._timers.push(setTimeout(run, 0))
  }

  // Read the table soon, once for many changes.
  _soon() {
    if (this._isAwaited) return
    this._isAwaited = true
    setTimeout(async () => {
      this._isAwaited = false
      try {
        await this._readTable()
      } catch (error) {
        if (!(error instanceof Problem)) throw error // the next reading tells
      }
    }, 300)
  }

  async _readNode() {
    const { node } = await this.api.ask("v1/info/node")
    this.info = node
    const own = this.network.own
    const endpoint = node.endpoints[0] ?? node.listening[0] ?? "this node"
    if (own && (own.id !== node.node_id || own.endpoint !== endpoint)) this.network.drop(own.key)
    this.network.put(endpoint, { id: node.node_id, endpoint, standing: "own" })
    this.network.size = node.network_size
    this.network.isEstimated = true
    this.tell.changed()
  }

  async _readTable() {
    const { routing_table: table } = await this.api.ask(`v1/info/routing_table?limit=${PAGE}`)
    const there = new Set()
    this.buckets = []
    for (const bucket of table.buckets) {
      if (bucket.family === table.buckets[0].family) {
        this.buckets.push({ low: bucket.low, high: bucket.high, size: bucket.members.length })
      }
      for (const member of bucket.members) {
        if (member.endpoint === this.network.own?.endpoint) continue
        there.add(member.endpoint)
        this.network.put(member.endpoint, {
          id: member.id, endpoint: member.endpoint, standing: member.state, rtt: member.rtt_ms,
          lastActivity: member.last_activity_s, timeouts: member.timeouts,
          bucket: `${bucket.family}, ${bucket.members.length} ${bucket.members.length === 1 ? "member" : "members"}`,
        })
      }
    }
    for (const node of this.network.all()) {
      if (!["own", "heard"].includes(node.standing) && !there.has(node.endpoint)) this.network.drop(node.key)
    }
    this.remember(this._pinned)
    this.network.forget(now())
    this.tell.changed()
  }

  async _readEntries() {
    const own = await this._rows("tracking")
    const held = await this._rows("store")
    this.network.mark("own", own.map(each => each.id))
    this.network.mark("held", held.map(each => each.id))
    this.entries = own
  }

  async _rows(section) {
    const rows = []
    for (let page = 0; page < PAGES; page += 1) {
      const told = await this.api.ask(`v1/info/${section}?limit=${PAGE}&offset=${page * PAGE}`)
      rows.push(...told[section])
      if (!told.next[section]) break
    }
    return rows
  }

  async _readCounters() {
    const { network } = await this.api.ask("v1/info/network")
    const at = now()
    const out = network.queries_sent
    const taken = Object.values(network.queries_received).reduce((sum, each) => sum + each, 0)
    const before = this._before
    // After a restart of the daemon, its counters begin at 0 again.
    if (before && out >= before.out && taken >= before.taken) {
      const passed = at - before.at
      this.rates = { out: (out - before.out) / passed, in: (taken - before.taken) / passed }
    }
    this._before = { out, taken, at }
    this.counters = network
    this.tell.figures()
  }

  _take(events) {
    for (const event of events) {
      this.tell.time(event.at)
      switch (event.kind) {
        case "lookup-begun":
          this.tell.begun(this.recorder.begun(event, this.network.own?.key))
          break
        case "lookup-step":
          this._step(event)
          break
        case "lookup-ended":
          this.recorder.ended(event)
          break
        case "contact-lost":
          this.network.drop(event.endpoint)
          this._soon()
          break
        case "contact-gained":
        case "renamed":
        case "joined":
        case "isolated":
          this._soon()
          break
        case "missed":
          this.recorder.miss()
          this._soon()
          break
        case "counted":
          this.recorder.untold += event.counts["lookup-begun"] ?? 0
          break
        default: // what the counters tell as well
      }
    }
  }

  _step(event) {
    const lookup = this.recorder.get(event.op)
    if (!lookup) return // it began before the page was opened
    event.key = event.endpoint
    this._hear(event.endpoint, event.node_id)
    for (const node of event.nodes) this._hear(node.endpoint, node.id)
    if (this.network.count > CROWD) this.network.forget(now()) // nobody reads the table for a tab that is hidden
    lookup.add(event)
  }

  // By the clock of the page: that of the daemon may be another one.
  _hear(endpoint, id) {
    const known = this.network.get(endpoint)
    if (known) known.seen = now()
    else this.network.put(endpoint, { id, endpoint, standing: "heard", seen: now() })
  }
}

const now = () => performance.now() / 1000

function seconds(value) {
  return value < 60 ? `${Math.round(value)} s` : `${Math.round(value / 60)} min`
}
