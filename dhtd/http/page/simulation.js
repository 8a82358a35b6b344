// The source of a simulated network: all of its nodes, what happens among them, and its virtual time.

import { Feed, Problem } from "./api.js"
import { count } from "./words.js"

const DEAD_FOR = 10 // virtual seconds for which a dead node is shown
const AHEAD = 10 // virtual seconds of the past that are fetched at once

export class Simulation {
  constructor(api, network, recorder, tell) {
    this.kind = "simulation"
    this.api = api
    this.network = network
    this.recorder = recorder
    this.tell = tell
    this.state = null
    this.buckets = []
    this.past = null // {at, since, rate, until}: the moment of the past that is shown
    this._awaited = new Map() // op -> what to do when it begins
  }

  async start() {
    this._has(await this.api.ask("v1/simulation"))
    await this._readNodes()
    this.feed = new Feed("v1/events", null, {
      events: events => this._take(this.past ? events.filter(event => event.kind === "state") : events),
      connected: is => this._connected(is),
    })
  }

  stop() {
    this.feed?.close()
  }

  about() {
    const { state } = this
    const names = { kademlia: "Kademlia", chord: "Chord" }
    return `simulated ${names[state.overlay] ?? state.overlay} · ${state.command}`
  }

  figures() {
    const { state } = this
    const hops = Object.fromEntries(Object.entries(state.hops ?? {}))
    if (state.p50_ms === null) return { ...this._measured(), out: state.queries_s ?? null, asked: state.asked, found: state.found }
    const ended = Object.values(hops).reduce((sum, many) => sum + many, 0)
    return {
      out: state.queries_s ?? null, asked: state.asked, found: state.found,
      p50: state.p50_ms ?? null, p99: state.p99_ms ?? null, hops, count: ended, what: "lookups of this run",
    }
  }

  _measured() {
    return { ...this.recorder.measured(), what: "lookups that were shown here" }
  }

  // The moment that the pictures show; null for the one that the events tell.
  shown() {
    if (!this.past) return null
    const { at, since, rate } = this.past
    const passed = ((performance.now() - since) / 1000) * rate
    return Math.min(this.past.until, at + passed)
  }

  async lookUp(text) {
    const body = { n: this._asking ?? null, id: text ? text.toLowerCase() : null, count: 1 }
    this.live()
    const { ops } = await this.api.ask("v1/simulation/lookups", { method: "POST", body })
    if (!ops.length) return "No node is there to look it up, or no entry to be looked up."
    const known = this.recorder.get(ops[0])
    if (known) this.tell.choose(known)
    else this._awaited.set(ops[0], lookup => this.tell.choose(lookup))
    return "The lookup begins."
  }

  async describe(node) {
    const told = await this.api.ask(`v1/simulation/nodes/${node.key}`)
    this._asking = told.live ? node.key : null
    this.network.mark("own", told.own ?? [])
    this.network.mark("held", (told.held ?? []).map(each => each.id))
    if (!told.live) return { facts: [], links: [], successors: [], buckets: [] }
    const facts = []
    const links = told.contacts ? told.contacts.map(each => each.n) : told.fingers
    if (told.contacts) facts.push(["contacts", String(told.contacts.length)])
    if (told.fingers) {
      facts.push(["fingers", `${new Set(told.fingers).size} nodes`], ["successors", String(told.successors.length)])
    }
    facts.push(["own entries", String(told.own.length)], ["holds", count(told.held.length, "entry")])
    return {
      facts, links: (links ?? []).filter(each => each !== null), successors: told.successors ?? [],
      buckets: (told.buckets ?? []).map(bucket => ({ low: bucket.low, high: bucket.high, size: bucket.size })),
    }
  }

  actions(node) {
    if (node.standing === "dead") return []
    return [
      ["Kill it", () => this.kill(node)],
      ["Look up from here", () => this._from(node)],
    ]
  }

  async _from(node) {
    await this._try(async () => {
      this._asking = node.key
      await this.lookUp("")
    })
  }

  async kill(node) {
    await this._try(async () => {
      await this.api.ask(`v1/simulation/nodes/${node.key}`, { method: "DELETE" })
      this._down(node.key)
    })
  }

  async killShare(share) {
    await this._try(() => this.api.ask("v1/simulation/kill", { method: "POST", body: { share } }))
  }

  async add(many) {
    await this._try(() => this.api.ask("v1/simulation/nodes", { method: "POST", body: { count: many } }))
  }

  async setSpeed(speed) {
    await this._try(() => this.api.ask("v1/simulation/speed", { method: "PUT", body: { speed } }))
  }

  // Show a moment of the past, or have the network go on to one of the future.
  async goTo(at) {
    if (at > this.state.now) {
      this.live()
      await this._try(() => this.api.ask("v1/simulation/advance", { method: "POST", body: { to: at } }))
      return
    }
    await this._try(async () => {
      const from = Math.max(this.state.kept_from, at - 5)
      this.tell.cleared()
      this.recorder.clear()
      this.network.clear()
      await this._readNodes(at)
      this.past = { at, since: performance.now(), rate: this.past?.rate ?? 1, until: at }
      this._later = []
      await this._readPast(from)
    })
  }

  setPastRate(rate) {
    if (!this.past) return
    this.past = { ...this.past, at: this.shown(), since: performance.now(), rate }
  }

  // Back to what happens now.
  live() {
    if (!this.past) return
    this.past = null
    this.tell.cleared()
    this.recorder.clear()
    this.network.clear()
    this._try(() => this._readNodes())
  }

  // Fetch what comes next in the past, as the moment nears its end; called now and then.
  async keepUp() {
    if (!this.past || this._isReading || this.shown() < this.past.until - AHEAD / 4) return
    if (this.past.until >= this.state.now) {
      if (this.shown() >= this.past.until) this.live()
      return
    }
    await this._try(() => this._readPast(this.past.until))
  }

  async _readPast(from) {
    this._isReading = true
    try {
      const shown = this.shown()
      const until = Math.min(this.state.now, Math.max(from, shown) + AHEAD)
      const told = await this.api.ask(`v1/simulation/happenings?from=${written(from)}&to=${written(until)}`)
      if (!this.past) return
      this._take(told.events.filter(event => event.kind.startsWith("lookup")))
      this._later.push(...told.events.filter(event => event.kind.startsWith("node") && event.at > from))
      const last = told.events[told.events.length - 1]
      this.past = { ...this.past, at: shown, since: performance.now(), until: told.cut && last ? last.at : until }
    } finally {
      this._isReading = false
    }
  }

  // Nodes that have come or gone by the moment that is shown.
  turn() {
    const shown = this.shown()
    while (shown !== null && this._later?.length && this._later[0].at <= shown) this._take([this._later.shift()])
  }

  remember() {}

  async _try(work) {
    try {
      await work()
    } catch (error) {
      if (!(error instanceof Problem)) throw error
      this.tell.problem(error.message)
    }
  }

  _connected(is) {
    this.tell.status(is, is ? null : "The simulation does not answer. The page tries again by itself.")
    if (is && !this.past) this._try(() => this._readNodes())
  }

  _has(state) {
    this.state = state
    this.network.isRing = state.overlay === "chord"
    this.network.size = state.live
    this.tell.time(state.now, state.running ? state.reached || state.speed : 0)
    this.tell.figures()
    this.tell.changed()
    if (state.failed) this.tell.problem(`${state.failed.message}. To see it again: ${state.failed.replay}`)
  }

  async _readNodes(at) {
    const told = await this.api.ask(`v1/simulation/nodes${at === undefined ? "" : `?at=${written(at)}`}`)
    const there = new Set()
    for (const [n, id, endpoint, isLive, held] of told.nodes) {
      there.add(n)
      this.network.put(n, { id, endpoint, standing: isLive ? "live" : "dead", held: held ?? 0 })
    }
    for (const node of this.network.all()) if (!there.has(node.key)) this.network.drop(node.key)
    this.tell.changed()
  }

  _take(events) {
    for (const event of events) {
      switch (event.kind) {
        case "lookup-begun":
          this._begun(event)
          break
        case "lookup-step":
          event.key = event.to ?? this.network.at(event.endpoint)?.key
          this.recorder.get(event.op)?.add(event)
          break
        case "lookup-ended":
          this.recorder.ended(event)
          break
        case "node-up":
          this.network.put(event.n, { id: event.id, endpoint: event.endpoint, standing: "live" })
          break
        case "node-down":
          this._down(event.n, event.at)
          break
        case "state":
          if (this.past) this.state = event
          else {
            this._has(event)
            this._bury(event.now)
          }
          break
        case "counted":
          this.recorder.untold += event.counts.lookup ?? 0
          break
        case "missed":
          this._try(() => this._readNodes()) // some may have come or gone
          break
        default: // the server is newer than the page
      }
    }
  }

  _begun(event) {
    const lookup = this.recorder.begun(event, event.n)
    this.tell.begun(lookup)
    this._awaited.get(event.op)?.(lookup)
    this._awaited.delete(event.op)
  }

  _down(n, at = this.state.now) {
    const node = this.network.get(n)
    if (node) this.network.put(n, { standing: "dead", died: at })
  }

  _bury(now) {
    for (const node of this.network.all()) {
      if (node.standing === "dead" && now - (node.died ?? 0) > DEAD_FOR) this.network.drop(node.key)
    }
  }
}

// A virtual time as the server tells it: never later than it is there.
function written(seconds) {
  return (Math.floor(Math.max(0, seconds) * 1e6) / 1e6).toFixed(6)
}
