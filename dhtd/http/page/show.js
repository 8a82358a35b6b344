// All lookups as they happen, a short fixed delay after they did. A query is a point on its way out and back, at its
// measured time; when it has ended, its way stays as a trail that fades.

import { Lookup } from "./lookup.js"
import { ink } from "./theme.js"

const LINGER = 1_000 // milliseconds after the end of a lookup until it is let go of
const STUCK = 60_000 // of a lookup whose end was not told
const MOST = 400 // lookups at once

export const COLOURS = { asked: "query", answered: "answer", slow: "slow", silent: "silent", refused: "silent" }

export class Show {
  constructor(network) {
    this._network = network
    this._active = []
    this._bend = [0, 0]
  }

  begin(lookup) {
    this._active.push(lookup)
    if (this._active.length > MOST) this._active.shift()
  }

  clear() {
    this._active.length = 0
  }

  // Let go of the lookups that are over at a time of the source, in seconds.
  settle(shown) {
    let kept = 0
    for (const lookup of this._active) {
      const at = 1000 * (shown - lookup.begun)
      const isOver = lookup.isOver ? at > lookup.duration + LINGER : at > STUCK
      if (!isOver) this._active[kept++] = lookup
    }
    this._active.length = kept
  }

  paint(stage, shown) {
    const { layout, top } = stage
    const { x, y } = layout
    const bend = this._bend
    const strength = Math.max(0.16, Math.min(0.65, 1.3 / Math.sqrt(this._active.length))) // fainter where there are many
    for (const lookup of this._active) {
      const at = 1000 * (shown - lookup.begun)
      const from = this._network.get(lookup.from)
      if (at < 0 || !from) continue
      const x0 = x[from.slot]
      const y0 = y[from.slot]
      for (const query of lookup.queries) {
        if (query.asked > at || query.drawn & stage.bit) continue
        const to = this._network.get(query.key)
        if (!to) continue
        const x1 = x[to.slot]
        const y1 = y[to.slot]
        const state = Lookup.stateAt(query, at)
        layout.bend(x0, y0, x1, y1, bend, from.id, to.id)
        if (query.ended !== null && at >= query.ended) {
          query.drawn |= stage.bit
          stage.trail(x0, y0, bend[0], bend[1], x1, y1, ink[COLOURS[state]], strength)
          continue
        }
        const way = Lookup.wayAt(query, at)
        const share = way > 1 ? 2 - way : way
        const rest = 1 - share
        top.fillStyle = ink[state === "slow" ? "slow" : way > 1 ? "answer" : "query"]
        const px = rest * rest * x0 + 2 * rest * share * bend[0] + share * share * x1
        const py = rest * rest * y0 + 2 * rest * share * bend[1] + share * share * y1
        top.fillRect(px - 1.5 * ink.scale, py - 1.5 * ink.scale, 3 * ink.scale, 3 * ink.scale)
      }
    }
  }
}
