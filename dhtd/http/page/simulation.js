// The source of a simulated network: all of its nodes, what happens among them, and its virtual time.

import { Feed, Problem } from "./api.js"
import { Past } from "./past.js"
import { count } from "./words.js"

const DEAD_FOR = 10 // virtual seconds for which a dead node is shown
const AHEAD = 10 // virtual seconds of the past that are fetched at once
const BEFORE = 5 // virtual seconds before a moment of the past, whose lookups may be under way then
const LATEST = 1_000 // lookups of which the server tells percentiles
const NOTHING = { facts: [], links: [], successors: [], buckets: [], own: [], held: [] }

const seconds = () => performance.now() / 1000

export class Simulation {
  constructor(api, network, recorder, tell) {
    this.kind = "simulation"
    this.api = api
    this.network = network
    this.recorder = recorder
    this.tell = tell
    this.state = null
    this.buckets = []
    this.past = null
    this._visit = 0 // grows with each wish for another moment, so that an answer to an older one is known as such
    this._rowsOf = 0 // the serial of the latest rows of nodes that were taken
    this._journals = new Set() // of nodes that come and go while their rows are on their way
    this._awaited = new Map() // op -> what to do when it begins
  }

  async start() {
    this._has(await this.api.ask("v1/simulation"))
    await this._readNodes()
    this.feed = new Feed("v1/events", null, {
      events: events => this._hear(events),
      connected: is => this._connected(is),
      refused: text => this.tell.problem(text),
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
    const common = { out: state.queries_s ?? null, asked: state.asked, found: state.found }
    if (state.p50_ms === null) return { ...this.recorder.measured(), what: "lookups that were shown here", ...common }
    const ended = Object.values(state.hops).reduce((sum, many) => sum + many, 0)
    return {
      p50: state.p50_ms, p99: state.p99_ms, hops: state.hops, count: Math.min(LATEST, ended), what: "lookups of this run", ...common,
    }
  }

  // The moment that the pictures show; null for the one that the events tell.
  shown() {
    return this.past?.shown(seconds()) ?? null
  }

  // Look up an ID, or any entry, from a node, or from any. Resolves with a sentence.
  async lookUp(text, node) {
    const isThere = node && !this.past && node.standing === "live"
    const body = { n: isThere ? node.key : null, id: text ? text.toLowerCase() : null, count: 1 }
    this.live()
    const { ops } = await this.api.ask("v1/simulation/lookups", { method: "POST", body })
    const known = this.recorder.get(ops[0])
    if (known) this.tell.choose(known)
    else this._awaited.set(ops[0], lookup => this.tell.choose(lookup))
    return "The lookup begins."
  }

  // What the server tells of a node is how it is now.
  async describe(node) {
    if (node && this.past) return { ...NOTHING, facts: [["contacts", "told of the present only"]] }
    if (!node || node.standing !== "live") return NOTHING
    const told = await this.api.ask(`v1/simulation/nodes/${node.key}`)
    if (!told.live) return NOTHING
    const facts = [["contacts", String(told.contacts.length)]]
    if (told.fingers) {
      facts.push(["fingers", count(new Set(told.fingers).size, "node")], ["successors", String(told.successors.length)])
    }
    facts.push(["own entries", String(told.own.length)], ["holds", count(told.holds, "entry")])
    return {
      facts, links: told.contacts.map(each => each.n).filter(each => each !== null), successors: told.successors ?? [],
      buckets: told.buckets ?? [], own: told.own, held: told.held.map(each => each.id),
    }
  }

  actions(node) {
    if (this.past || node.standing !== "live") return []
    return [
      ["Kill it", () => this.kill(node)],
      ["Look up from here", () => this._try(() => this.lookUp("", node))],
    ]
  }

  async kill(node) {
    await this._try(async () => {
      await this.api.ask(`v1/simulation/nodes/${node.key}`, { method: "DELETE" })
      this._down(node.key)
      this.tell.changed()
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
  async goTo(wanted) {
    if (wanted > this.state.now) {
      this.live()
      await this._try(() => this.api.ask("v1/simulation/advance", { method: "POST", body: { to: wanted } }))
      return
    }
    const visit = (this._visit += 1)
    await this._try(async () => {
      const at = Math.max(this.state.kept_from, wanted)
      const told = await this.api.ask(`v1/simulation/nodes?at=${written(at)}`)
      if (visit !== this._visit) return
      this._clear()
      this.past = new Past(at, seconds(), this.past?.rate)
      this._put(told.nodes)
      this.tell.changed()
      await this._readPast(Math.max(0, at - BEFORE))
    })
  }

  setPastRate(rate) {
    this.past?.setRate(rate, seconds())
  }

  // Back to what happens now.
  live() {
    this._visit += 1
    if (!this.past) return
    this.past = null
    this._clear()
    this._try(() => this._readNodes(), "reading")
  }

  // Fetch what comes next in the past, as the moment nears its end; called now and then.
  async keepUp() {
    const { past } = this
    if (!past || past.isReading || this.shown() < past.until - AHEAD / 4) return
    if (past.until < this.state.now) await this._try(() => this._readPast(past.until), "reading")
    else if (this.shown() >= past.until) this.live()
  }

  async _readPast(from) {
    const { past } = this
    past.isReading = true
    try {
      const until = Math.min(this.state.now, Math.max(from, this.shown()) + AHEAD)
      const told = await this.api.ask(`v1/simulation/happenings?from=${written(from)}&to=${written(until)}`)
      if (this.past !== past) return
      const last = told.events[told.events.length - 1]
      this._take(past.take(told.events, told.cut && last && last.at > from ? last.at : until, seconds()))
    } finally {
      past.isReading = false
    }
  }

  // Nodes that have come or gone by the moment that is shown.
  turn() {
    if (this.past) this._take(this.past.due(seconds()))
  }

  remember() {}

  // Do what the visitor wants, or (`kind` is "reading") what the page needs; tell what the server has against it.
  async _try(work, kind = "request") {
    try {
      await work()
      this.tell.problem(null, kind)
    } catch (error) {
      if (!(error instanceof Problem)) throw error
      this.tell.problem(error.message, kind)
    }
  }

  _connected(is) {
    this.tell.status(is, is ? null : "The simulation does not answer. The page tries again by itself.")
    if (is && !this.past) this._try(() => this._readNodes(), "reading")
  }

  _has(state) {
    const isOther = this.state && state.run !== this.state.run
    this.state = state
    if (isOther) this._beginAgain()
    this.network.isRing = state.overlay === "chord"
    this.network.size = state.live
    this.tell.time(state.now, state.running ? state.reached || Number(state.speed) || 0 : 0)
    this.tell.figures()
    this.tell.changed()
    this.tell.failed(state.failed ? `${state.failed.message}. To see it again: ${state.failed.replay}` : null)
  }

  // Another run is at this address: nothing that is known is of it.
  _beginAgain() {
    this._visit += 1
    this.past = null
    this._rowsOf = 0
    this._awaited.clear()
    this._clear()
    this.network.clear()
    this.recorder.reset()
    this._try(() => this._readNodes(), "reading")
  }

  _clear() {
    this.tell.cleared()
    this.recorder.clear()
  }

  // Read which nodes there are. Those that come or go before the answer is here may be told in it or not, so what is
  // later than the answer is done again.
  async _readNodes() {
    const journal = []
    const { run } = this.state
    this._journals.add(journal)
    try {
      const told = await this.api.ask("v1/simulation/nodes")
      if (this.past || told.last < this._rowsOf || run !== this.state.run) return
      this._rowsOf = told.last
      this._put(told.nodes)
      this._take(journal.filter(event => event.serial > told.last))
      this.tell.changed()
    } finally {
      this._journals.delete(journal)
    }
  }

  _put(rows) {
    const there = new Set()
    for (const [n, id, endpoint, isLive] of rows) {
      there.add(n)
      this.network.put(n, { id, endpoint, standing: isLive ? "live" : "dead", ...(isLive && { died: undefined }) })
    }
    for (const node of this.network.all()) if (!there.has(node.key)) this.network.drop(node.key)
  }

  // Events of the stream. In the past, only the state is of interest.
  _hear(events) {
    for (const journal of this._journals) journal.push(...events.filter(event => event.kind.startsWith("node-")))
    this._take(this.past ? events.filter(event => event.kind === "state") : events)
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
          this.network.put(event.n, { id: event.id, endpoint: event.endpoint, standing: "live", died: undefined })
          break
        case "node-down":
          this._down(event.n, event.at)
          break
        case "state":
          if (this.past && event.run === this.state.run) this.state = event
          else {
            this._has(event)
            this._bury(event.now)
          }
          break
        case "counted":
          this.recorder.untold += event.counts.lookup ?? 0
          break
        case "missed":
          this.recorder.miss()
          this._try(() => this._readNodes(), "reading") // some may have come or gone
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
function written(time) {
  return (Math.floor(Math.max(0, time) * 1e6) / 1e6).toFixed(6)
}
