// What stands still in a picture of the keyspace: the ring or the tree, its buckets, nodes, and entries.

import { addGlyph, circle, paintGlyphs, square } from "./glyphs.js"
import { placeOf } from "./ids.js"
import { STANDINGS } from "./network.js"
import { font, ink } from "./theme.js"

const FINE = 1.6 // pixels; a subtree that is narrower is not drawn
const GAP = 0.008 // radians at both ends of a bucket

export function paintBackdrop(context, layout, network, chosen) {
  context.clearRect(0, 0, layout.width, layout.height)
  if (layout.kind === "ring") paintRim(context, layout)
  else paintTree(context, layout)
  paintBuckets(context, layout, chosen.buckets)
  paintNodes(context, layout, network)
  paintMarks(context, layout, network)
}

function paintRim(context, ring) {
  context.lineWidth = 1
  context.strokeStyle = ink.edge
  circle(context, ring.cx, ring.cy, ring.radius)
  context.stroke()
  if (ring.band) {
    circle(context, ring.cx, ring.cy, ring.radius - ring.band)
    context.stroke()
  }
  // The keyspace in sixteenths, with the first digit of the IDs there.
  context.fillStyle = ink.faint
  context.font = font(10)
  context.textAlign = "center"
  context.textBaseline = "middle"
  const inner = ring.radius - ring.band - 16
  for (let digit = 0; digit < 16; digit += 1) {
    const angle = ring.angle(digit / 16)
    const cosine = Math.cos(angle)
    const sine = Math.sin(angle)
    const from = ring.radius - ring.band - (digit % 4 ? 4 : 8)
    context.beginPath()
    context.moveTo(ring.cx + from * cosine, ring.cy + from * sine)
    context.lineTo(ring.cx + (ring.radius - ring.band) * cosine, ring.cy + (ring.radius - ring.band) * sine)
    context.stroke()
    if (ring.radius > 130) context.fillText(digit.toString(16), ring.cx + inner * cosine, ring.cy + inner * sine)
  }
}

function paintTree(context, tree) {
  context.lineWidth = 1
  context.strokeStyle = ink.edge
  context.beginPath()
  for (const fork of tree.forks) {
    const first = tree.x[tree.order[fork.from].slot]
    const last = tree.x[tree.order[fork.to].slot]
    if (last - first < FINE || fork.depth > tree.depth) continue
    const y = Math.round(tree.down(fork.depth)) + 0.5
    const left = tree._left(fork.left)
    const right = tree._left(fork.right)
    context.moveTo(left, tree.isDense && fork.left >= 0 ? y : depthOf(tree, fork.left))
    context.lineTo(left, y)
    context.lineTo(right, y)
    context.lineTo(right, tree.isDense && fork.right >= 0 ? y : depthOf(tree, fork.right))
  }
  context.stroke()
  context.fillStyle = ink.soft
  context.font = font(10)
  context.textAlign = "left"
  context.textBaseline = "middle"
  const step = tree.depth > 20 ? 8 : tree.depth > 8 ? 4 : 2
  for (let depth = 0; depth <= tree.depth; depth += step) {
    context.fillText(depth ? String(depth) : "0 bits in common", 4, tree.down(depth) - (depth ? 0 : 12))
  }
}

function depthOf(tree, child) {
  if (child < 0) return Math.round(tree.down(tree.forks[-1 - child].depth)) + 0.5
  return tree.base
}

// The ranges of the buckets of one node, outside of the ring or below the leaves.
function paintBuckets(context, layout, buckets) {
  context.lineWidth = 2
  context.textAlign = "center"
  context.textBaseline = "top"
  context.font = font(10)
  buckets.forEach((bucket, number) => {
    const low = placeOf(bucket.low)
    const high = placeOf(bucket.high)
    context.strokeStyle = number % 2 ? ink.edge : ink.faint
    context.beginPath()
    if (layout.kind === "ring") {
      if (high - low < 0.0004) return
      const gap = Math.min(GAP, (Math.PI * (high - low)) / 2) // an arc that ends before it begins is a circle
      context.arc(layout.cx, layout.cy, layout.radius + 13, layout.angle(low) + gap, layout.angle(high) - gap)
      context.stroke()
      return
    }
    const left = layout.across(low)
    const right = layout.across(high)
    context.moveTo(left + 1, layout.base + 16)
    context.lineTo(Math.max(left + 2, right - 1), layout.base + 16)
    context.stroke()
    context.fillStyle = ink.soft
    if (right - left > 16) context.fillText(String(bucket.size), (left + right) / 2, layout.base + 21)
  })
}

export function sizeOf(layout) {
  const count = layout.order.length
  const room = layout.kind === "ring" ? 2 * Math.PI * layout.radius : layout.right - layout.left
  const size = layout.isDense ? (count > 3000 ? 0.9 : 1.3) : Math.max(2.2, Math.min(5, (room / Math.max(8, count)) * 0.42))
  return size * ink.scale
}

function paintNodes(context, layout, network) {
  const size = sizeOf(layout)
  if (layout.isDense && layout.kind === "tree") {
    paintDense(context, layout)
    return
  }
  const paths = {}
  for (const node of layout.order) {
    if (node.standing === "own") continue
    const path = (paths[node.standing] ??= new Path2D())
    const x = layout.x[node.slot]
    const y = layout.y[node.slot]
    if (layout.isDense && node.standing === "live") path.rect(x - size, y - size, 2 * size, 2 * size)
    else addGlyph(path, node.standing, x, y, node.standing === "heard" ? size * 0.7 : layout.isDense ? size * 1.6 : size)
  }
  for (const standing of STANDINGS.toReversed()) {
    if (paths[standing]) paintGlyphs(context, paths[standing], standing, size)
  }
  if (network.own) paintOwn(context, layout.x[network.own.slot], layout.y[network.own.slot], Math.max(4, size))
}

// Thousands of leaves: a line for each, which the eye takes for a density.
function paintDense(context, layout) {
  for (const [isDead, colour] of [[false, ink.good], [true, ink.silent]]) {
    context.fillStyle = colour
    context.globalAlpha = isDead ? 0.8 : Math.min(0.6, Math.max(0.12, (layout.right - layout.left) / layout.order.length))
    for (const node of layout.order) {
      if ((node.standing === "dead") === isDead) context.fillRect(layout.x[node.slot] - 0.5, layout.base - 9, 1, 18)
    }
  }
  context.globalAlpha = 1
}

function paintOwn(context, x, y, size) {
  context.fillStyle = ink.ink
  circle(context, x, y, size)
  context.fill()
  context.strokeStyle = ink.ink
  context.lineWidth = 1.5
  circle(context, x, y, size + 4)
  context.stroke()
}

// Entries: squares for those of this node, ticks for those that it holds for others.
function paintMarks(context, layout, network) {
  const out = layout.kind === "ring" ? 20 : 40
  context.strokeStyle = ink.target
  context.globalAlpha = 0.7
  context.lineWidth = 1
  context.beginPath()
  for (const id of network.marks.held) {
    const [x0, y0] = layout.at(id, out - 3)
    const [x1, y1] = layout.at(id, out + 3)
    context.moveTo(x0, y0)
    context.lineTo(x1, y1)
  }
  context.stroke()
  context.globalAlpha = 1
  context.fillStyle = ink.target
  for (const id of network.marks.own) {
    const [x, y] = layout.at(id, out)
    square(context, x, y, 3)
    context.fill()
  }
}
