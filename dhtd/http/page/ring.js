// The keyspace as a ring: an ID is an angle, clockwise from the top. A node of ours is turned to the top.
// Without DOM: it computes places and curves, and others draw.

import { placeOf } from "./ids.js"

const MANY = 700 // nodes; more are spread over a band, since they would lie on one another

export class Ring {
  constructor() {
    this.kind = "ring"
    this.x = new Float32Array(0)
    this.y = new Float32Array(0)
    this.order = []
    this.band = 0
  }

  layOut(network, width, height) {
    const margin = Math.max(30, Math.min(width, height) * 0.075)
    this.width = width
    this.height = height
    this.cx = width / 2
    this.cy = height / 2
    this.radius = Math.max(40, Math.min(width, height) / 2 - margin)
    this.turn = network.own && !network.isRing ? network.own.place : 0
    this.order = network.sorted()
    this.isDense = this.order.length > MANY
    this.band = this.isDense ? this.radius * 0.13 : 0
    const slots = network.slots.length
    if (this.x.length < slots) {
      this.x = new Float32Array(2 * slots)
      this.y = new Float32Array(2 * slots)
    }
    for (const node of this.order) {
      const angle = this.angle(node.place)
      const radius = this.radius - this.band * spread(node.id)
      this.x[node.slot] = this.cx + radius * Math.cos(angle)
      this.y[node.slot] = this.cy + radius * Math.sin(angle)
    }
  }

  angle(place) {
    return 2 * Math.PI * (place - this.turn) - Math.PI / 2
  }

  // A point for an ID, so far outside of the ring.
  at(id, outside = 0) {
    const angle = this.angle(placeOf(id))
    return [this.cx + (this.radius + outside) * Math.cos(angle), this.cy + (this.radius + outside) * Math.sin(angle)]
  }

  // The control point of the curve between two points: it bends to the middle, more so the farther they are apart.
  bend(x0, y0, x1, y1, out) {
    const apart = Math.hypot(x1 - x0, y1 - y0) / (2 * this.radius)
    const pull = 0.92 - 0.75 * Math.min(1, apart)
    out[0] = this.cx + ((x0 + x1) / 2 - this.cx) * pull
    out[1] = this.cy + ((y0 + y1) / 2 - this.cy) * pull
  }

  nearest(x, y, network, within = 14) {
    let best = null
    let least = within * within
    for (const node of this.order) {
      const dx = this.x[node.slot] - x
      const dy = this.y[node.slot] - y
      const distance = dx * dx + dy * dy
      if (distance < least && network.slots[node.slot] === node) {
        least = distance
        best = node
      }
    }
    return best
  }
}

// A number from 0 to 1 that depends on the last digits of an ID only.
function spread(id) {
  return parseInt(id.slice(-6), 16) / 0x1000000
}
