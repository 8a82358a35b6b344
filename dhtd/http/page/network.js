// The nodes that the page knows. A node keeps its slot while it is here, so that drawings can keep what they have
// computed in arrays. `version` grows with each change that a drawing must follow.

import { bitsOf, placeOf } from "./ids.js"

// The standing of a node, from the most important one: a drawing of many paints them in the opposite order.
export const STANDINGS = ["own", "good", "questionable", "bad", "live", "heard", "dead"]

export const HEARD_FOR = 60 // seconds that a node is shown which only an answer has named
export const HEARD_MOST = 3_000

export class Network {
  constructor() {
    this.bits = 256
    this.size = null // how many nodes the network has, measured or estimated; null while it is not known
    this.isEstimated = false
    this.isRing = false // Chord's overlay
    this.own = null
    this.marks = { own: [], held: [] } // IDs of entries
    this.version = 0
    this.measured = 0 // grows with each round trip that is another one
    this.slots = [] // nodes by slot; null where none is
    this._free = []
    this._byKey = new Map()
    this._byEndpoint = new Map()
  }

  get count() {
    return this._byKey.size
  }

  all() {
    return this._byKey.values()
  }

  get(key) {
    return this._byKey.get(key)
  }

  at(endpoint) {
    return this._byEndpoint.get(endpoint)
  }

  // Take note of a node, or of what is new about it. Returns the node.
  put(key, facts) {
    const known = this._byKey.get(key)
    if (known) {
      if (facts.id !== undefined && facts.id !== known.id) {
        known.place = placeOf(facts.id)
        this.version += 1
      }
      if (facts.endpoint !== undefined && facts.endpoint !== known.endpoint) {
        if (this._byEndpoint.get(known.endpoint) === known) this._byEndpoint.delete(known.endpoint)
        this._byEndpoint.set(facts.endpoint, known)
      }
      if (facts.standing !== undefined && facts.standing !== known.standing) this.version += 1
      if (facts.rtt !== undefined && facts.rtt !== known.rtt) this.measured += 1
      Object.assign(known, facts)
      if (known.standing === "own") this.own = known // an answer may have named us by an endpoint that is new to us
      return known
    }
    const slot = this._free.length ? this._free.pop() : this.slots.length
    const node = {
      key, slot, id: facts.id, place: placeOf(facts.id), endpoint: facts.endpoint, standing: "heard",
      rtt: null, bucket: null, seen: 0, ...facts,
    }
    this.slots[slot] = node
    this._byKey.set(key, node)
    this._byEndpoint.set(node.endpoint, node)
    this.bits = bitsOf(node.id)
    if (node.standing === "own") this.own = node
    this.version += 1
    return node
  }

  drop(key) {
    const node = this._byKey.get(key)
    if (!node) return
    this._byKey.delete(key)
    if (this.own === node) this.own = null
    if (this._byEndpoint.get(node.endpoint) === node) this._byEndpoint.delete(node.endpoint)
    this.slots[node.slot] = null
    this._free.push(node.slot)
    this.version += 1
  }

  // Forget the nodes that only answers have named, a minute after the last of them, and where there are too many, those
  // that were named first.
  forget(now) {
    const heard = [...this._byKey.values()].filter(node => node.standing === "heard")
    const over = heard.length - HEARD_MOST
    const early = over > 0 ? heard.map(node => node.seen).sort((a, b) => a - b)[over - 1] : -Infinity
    for (const node of heard) if (now - node.seen > HEARD_FOR || node.seen <= early) this.drop(node.key)
  }

  clear() {
    for (const key of [...this._byKey.keys()]) this.drop(key)
  }

  mark(kind, ids) {
    const before = this.marks[kind]
    if (before.length === ids.length && before.every((id, at) => id === ids[at])) return
    this.marks[kind] = ids
    this.version += 1
  }

  counts() {
    const counts = {}
    for (const node of this._byKey.values()) counts[node.standing] = (counts[node.standing] ?? 0) + 1
    return counts
  }

  sorted() {
    return [...this._byKey.values()].sort((a, b) => (a.id < b.id ? -1 : a.id > b.id ? 1 : 0))
  }
}
