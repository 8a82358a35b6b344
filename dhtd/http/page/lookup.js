// One search of the network, as its steps tell it. All times of a lookup are milliseconds after it began.

import { nearness, sharedBits } from "./ids.js"

export class Lookup {
  constructor(op, target, purpose, from, begun) {
    this.op = op
    this.target = target
    this.purpose = purpose
    this.from = from // the key of the node that searches
    this.begun = begun // seconds of the source's clock
    this.queries = []
    this.moments = [] // {at, step, query}, in order
    this.summary = null // the event that ended it
    this.result = null // the endpoints, where the page has asked
    this.name = null
    this._byNumber = new Map()
  }

  add(step) {
    let query = this._byNumber.get(step.query)
    if (step.step === "asked" || !query) {
      query = {
        number: step.query, key: step.key, id: step.node_id, endpoint: step.endpoint, asked: step.at_ms,
        hop: step.hop, bits: step.bits ?? sharedBits(this.target, step.node_id), namedBy: step.named_by ?? [],
        ended: null, how: null, slow: null, rtt: null, gained: 0, nodes: [], peers: [], drawn: false,
      }
      this._byNumber.set(step.query, query)
      this.queries.push(query)
    }
    if (step.step === "slow") query.slow = step.at_ms
    else if (step.step !== "asked") {
      query.ended = step.at_ms
      query.how = step.step
      query.rtt = step.rtt_ms
      query.gained = step.gained ?? 0
      query.nodes = step.nodes ?? []
      query.peers = step.peers ?? []
      query.code = step.code ?? null
    }
    const moment = { at: step.at_ms, step: step.step, query }
    let place = this.moments.length
    while (place && this.moments[place - 1].at > moment.at) place -= 1
    this.moments.splice(place, 0, moment)
  }

  end(summary) {
    this.summary = summary
  }

  get isOver() {
    return this.summary !== null
  }

  get duration() {
    const last = this.moments.length ? this.moments[this.moments.length - 1].at : 0
    return Math.max(last, this.summary?.elapsed_ms ?? 0, 0.001)
  }

  get peers() {
    if (this.result) return this.result
    const peers = new Set()
    for (const query of this.queries) for (const peer of query.peers) peers.add(peer)
    return [...peers]
  }

  // What became of a query by a time: null before it was asked.
  static stateAt(query, at) {
    if (at < query.asked) return null
    if (query.ended !== null && at >= query.ended) return query.how
    if (query.slow !== null && at >= query.slow) return "slow"
    return "asked"
  }

  // How far a query is on its way at a time: from 0 to 1 on its way out, from 1 to 2 back. Only the round trip is
  // measured, so both ways take half of it. A query without an answer stays at its node.
  static wayAt(query, at) {
    if (query.ended === null || query.how === "silent") return 1
    const trip = query.rtt ?? query.ended - query.asked
    if (query.rtt === null || trip <= 0) return at < query.ended ? 1 : 2
    const sent = query.ended - trip
    return Math.min(2, Math.max(0, (2 * (at - sent)) / trip))
  }

  // How near the nearest node known is to the target, in halvings: [at, halvings], a row for each change. In Chord's
  // ring only nodes before the target are on the way; the one behind it is the last.
  closing(isRing = false) {
    const rows = []
    let best = 0
    for (const { at, step, query } of this.moments) {
      let near = best
      if (step === "asked") near = Math.max(near, nearness(this.target, query.id, isRing))
      else if (step === "answered") {
        if (!isRing) near = Math.max(near, best + query.gained)
        for (const node of query.nodes) near = Math.max(near, nearness(this.target, node.id, isRing))
      }
      if (near > best || !rows.length) rows.push([at, (best = near)])
    }
    return rows
  }

  nearestAt(at, isRing = false) {
    let near = 0
    for (const [when, halvings] of this.closing(isRing)) if (when <= at) near = halvings
    return near
  }

  hopsAt(at) {
    let hops = 0
    for (const query of this.queries) if (query.asked <= at && query.hop > hops) hops = query.hop
    return hops
  }
}
