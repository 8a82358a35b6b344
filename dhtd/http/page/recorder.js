// Lookups and what was measured of them, from the events of a source.

import { Lookup } from "./lookup.js"

const KEPT = 300 // lookups
const MEASURED = 1_000 // of which percentiles and hops are of
const LOST = { lost: true, hops: null, queries: null, responses: null, timeouts: null, elapsed_ms: null, found: null }

export class Recorder {
  constructor() {
    this.lookups = [] // the latest last
    this.version = 0
    this.since = null // seconds of the source's clock at which the first was told
    this.untold = 0 // lookups that were too many to be told
    this._byOp = new Map()
    this._measured = []
  }

  get(op) {
    return this._byOp.get(op)
  }

  begun(event, from) {
    const lookup = new Lookup(event.op, event.id, event.purpose, from, event.at)
    this._byOp.set(event.op, lookup)
    this.lookups.push(lookup)
    this.since ??= event.at
    if (this.lookups.length > KEPT) {
      const gone = this.lookups.shift()
      if (this._byOp.get(gone.op) === gone) this._byOp.delete(gone.op)
    }
    this.version += 1
    return lookup
  }

  ended(event) {
    const lookup = this._byOp.get(event.op)
    if (!lookup) return null
    lookup.end(event)
    this.version += 1
    // One that its owner has cut short has no length of its own, and one without an answer has no way.
    if (!event.cancelled && event.responses) {
      this._measured.push({ hops: event.hops, ms: event.elapsed_ms })
      if (this._measured.length > MEASURED) this._measured.shift()
    }
    return lookup
  }

  // Some events are gone, and perhaps ends of lookups. Those that are under way are over, unless an end is told yet.
  miss() {
    for (const lookup of this.lookups) if (!lookup.isOver) lookup.end(LOST)
    this.version += 1
  }

  clear() {
    this.lookups = []
    this._byOp.clear()
    this.version += 1
  }

  // Another run, of which nothing was told.
  reset() {
    this.clear()
    this._measured = []
    this.untold = 0
  }

  measured() {
    const times = this._measured.map(each => each.ms).sort((a, b) => a - b)
    const hops = {}
    for (const each of this._measured) hops[each.hops] = (hops[each.hops] ?? 0) + 1
    return { count: times.length, p50: quantile(times, 0.5), p99: quantile(times, 0.99), hops }
  }
}

// The least of the values in order that this share of them does not exceed; null without values.
export function quantile(sorted, share) {
  if (!sorted.length) return null
  return sorted[Math.min(sorted.length - 1, Math.max(0, Math.ceil(share * sorted.length) - 1))]
}
