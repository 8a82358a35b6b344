// The keyspace as a binary tree: at each depth, 0 goes left and 1 goes right. Nodes are its leaves, in the order of
// their IDs. Two nodes part at the depth of the bits that they have in common. Without DOM: it computes, others draw.

import { placeOf, sharedBits } from "./ids.js"

const EVEN = 700 // nodes; up to so many have places of one width, and more lie where their IDs are

export class Tree {
  constructor() {
    this.kind = "tree"
    this.x = new Float32Array(0)
    this.y = new Float32Array(0)
    this.order = []
    this.forks = []
  }

  layOut(network, width, height) {
    this.width = width
    this.height = height
    this.left = Math.min(34, width * 0.06)
    this.right = width - this.left
    this.top = Math.min(44, height * 0.1)
    this.base = height - Math.max(56, height * 0.15)
    this.order = network.sorted()
    this.isDense = this.order.length > EVEN
    const count = this.order.length
    const slots = network.slots.length
    if (this.x.length < slots) {
      this.x = new Float32Array(2 * slots)
      this.y = new Float32Array(2 * slots)
    }
    this.order.forEach((node, rank) => {
      this.x[node.slot] = this._across(this.isDense ? node.place : (rank + 0.5) / count)
      this.y[node.slot] = this.base
    })
    this.forks = forksOf(this.order)
    // Of thousands of nodes, a few part much deeper than the rest; the picture is for the rest.
    const deepest = this.forks.reduce((most, fork) => Math.max(most, fork.depth), 0) + 1
    this.depth = this.isDense ? Math.min(deepest, Math.ceil(Math.log2(count)) + 1) : deepest
    for (const fork of this.forks) fork.x = (this._left(fork.left) + this._left(fork.right)) / 2
  }

  _across(share) {
    return this.left + (this.right - this.left) * share
  }

  // The horizontal place of a leaf (a number from 0) or of a fork (-1 and below).
  _left(child) {
    return child >= 0 ? this.x[this.order[child].slot] : this.forks[-1 - child].x
  }

  down(depth) {
    return this.top + ((this.base - this.top) * Math.min(depth, this.depth)) / Math.max(4, this.depth)
  }

  // A point for an ID, so far below the leaves.
  at(id, outside = 0) {
    return [this.across(placeOf(id)), this.base + outside]
  }

  // The horizontal place of a place of the keyspace: between the leaves on its sides.
  across(place) {
    const count = this.order.length
    if (this.isDense || !count) return this._across(place)
    let low = 0
    let high = count
    while (low < high) {
      const middle = (low + high) >> 1
      if (this.order[middle].place < place) low = middle + 1
      else high = middle
    }
    return this._across(low < count && this.order[low].place === place ? (low + 0.5) / count : low / count)
  }

  // The control point of the curve between two points: its summit is at the fork where they part.
  bend(x0, y0, x1, y1, out, a, b) {
    const depth = a && b ? sharedBits(a, b) : 0
    const summit = this.down(Math.min(depth, this.depth))
    out[0] = (x0 + x1) / 2
    out[1] = 2 * summit - (y0 + y1) / 2
  }

  nearest(x, y, network, within = 18) {
    if (y < this.base - 4 * within || y > this.base + 3 * within) return null
    let best = null
    let least = within
    for (const node of this.order) {
      const distance = Math.abs(this.x[node.slot] - x)
      if (distance < least && network.slots[node.slot] === node) {
        least = distance
        best = node
      }
    }
    return best
  }
}

// The forks of the tree of these nodes, each after its children, in the order of their IDs. `left` and `right` are
// numbers of nodes, or -1 - the number of a fork. `from` and `to` are the first and the last node below.
export function forksOf(order) {
  const forks = []
  const open = [] // [child, first, depth of the fork with what is at the right]
  for (let rank = 0; rank < order.length; rank += 1) {
    const depth = rank + 1 < order.length ? sharedBits(order[rank].id, order[rank + 1].id) : -1
    let child = rank
    let first = rank
    while (open.length && open[open.length - 1].depth > depth) {
      const before = open.pop()
      forks.push({ depth: before.depth, left: before.child, right: child, from: before.first, to: rank, x: 0 })
      child = -forks.length
      first = before.first
    }
    open.push({ child, first, depth })
  }
  return forks
}
