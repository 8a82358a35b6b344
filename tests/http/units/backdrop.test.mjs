// What is drawn of a node's buckets.

import assert from "node:assert/strict"
import { test } from "node:test"

import { network } from "./made.mjs"

globalThis.matchMedia = () => ({ matches: false, addEventListener() {} })
globalThis.window = { localStorage: null }
globalThis.Path2D = class { moveTo() {} lineTo() {} arc() {} rect() {} closePath() {} }
const { paintBackdrop } = await import("../../../dhtd/http/page/backdrop.js")
const { Ring } = await import("../../../dhtd/http/page/ring.js")

// A canvas that keeps the arcs that are drawn.
function canvas(arcs) {
  const kept = { arc: (x, y, radius, from, to) => arcs.push([radius, from, to]) }
  return new Proxy(kept, { get: (target, name) => target[name] ?? (() => {}), set: () => true })
}

test("a bucket is an arc over its part of the ring, however small", () => {
  const ring = new Ring()
  ring.layOut(network(20), 800, 600)
  const arcs = []
  const digits = place => Math.round(place * 2 ** 48).toString(16).padStart(12, "0").padEnd(64, "0")
  const buckets = [2, 3, 4, 5, 6, 7, 8, 9, 10, 11].map(depth => ({ low: digits(2 ** -depth), high: digits(2 ** (1 - depth)), size: 8 }))
  paintBackdrop(canvas(arcs), ring, network(0), { buckets })
  const drawn = arcs.filter(([radius]) => radius === ring.radius + 13)
  assert.equal(drawn.length, buckets.length)
  drawn.forEach(([, from, to], at) => {
    const wide = 2 * Math.PI * 2 ** -(at + 2)
    assert.ok(to > from && to - from <= wide && to - from >= wide / 4, `${from} to ${to} of bucket ${at}`)
  })
})
