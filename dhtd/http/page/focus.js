// What the visitor looks at: one lookup at a moment of its replay, a chosen node with its links, a node under the pointer.

import { circle, square } from "./glyphs.js"
import { bitAt } from "./ids.js"
import { Lookup } from "./lookup.js"
import { COLOURS } from "./show.js"
import { sizeOf } from "./backdrop.js"
import { font, ink } from "./theme.js"

const NUMBERED = 40 // queries that have their number beside them
const bend = [0, 0]
const written = [] // places of numbers, so that none is written over another

export function paintLookup(stage, network, lookup, at) {
  const { layout, top } = stage
  const from = network.get(lookup.from)
  paintTarget(stage, lookup)
  if (!from) return
  const latest = latestMoment(lookup, at)
  for (const query of lookup.queries) {
    const state = Lookup.stateAt(query, at)
    const to = network.get(query.key)
    if (state === null || !to) continue
    paintQuery(stage, from, to, query, state, at)
    if (query === latest?.query && latest.step === "answered") paintNamed(stage, network, to, query)
  }
  const size = Math.max(3.5, sizeOf(layout) + 1)
  top.font = font(11, undefined, 600)
  top.textAlign = "center"
  top.textBaseline = "middle"
  written.length = 0
  for (const query of lookup.queries) {
    const state = Lookup.stateAt(query, at)
    const to = network.get(query.key)
    if (state === null || !to) continue
    paintAsked(stage, to, query, state, size, lookup.queries.length <= NUMBERED)
  }
  paintRing(top, layout.x[from.slot], layout.y[from.slot], size + 4, ink.ink)
}

export function latestMoment(lookup, at) {
  let latest = null
  for (const moment of lookup.moments) {
    if (moment.at > at + 1e-9) break
    latest = moment
  }
  return latest
}

function paintQuery(stage, from, to, query, state, at) {
  const { layout, top } = stage
  const x0 = layout.x[from.slot]
  const y0 = layout.y[from.slot]
  const x1 = layout.x[to.slot]
  const y1 = layout.y[to.slot]
  layout.bend(x0, y0, x1, y1, bend, from.id, to.id)
  const [cx, cy] = bend
  const way = Lookup.wayAt(query, at)
  const isUnderWay = state === "asked" || state === "slow"
  top.strokeStyle = ink[COLOURS[state]]
  top.lineWidth = (isUnderWay ? 1.6 : 1.1) * ink.scale
  top.globalAlpha = isUnderWay ? 1 : 0.6
  top.setLineDash(state === "silent" || state === "refused" ? [3, 4] : state === "slow" ? [7, 4] : [])
  const share = isUnderWay && way < 1 ? way : 1 // the line grows with the way out
  top.beginPath()
  top.moveTo(x0, y0)
  top.quadraticCurveTo(
    x0 + (cx - x0) * share, y0 + (cy - y0) * share, along(x0, cx, x1, share), along(y0, cy, y1, share),
  )
  top.stroke()
  top.setLineDash([])
  top.globalAlpha = 1
  if (!isUnderWay) return
  const place = way > 1 ? 2 - way : way
  top.fillStyle = ink[state === "slow" ? "slow" : way > 1 ? "answer" : "query"]
  circle(top, along(x0, cx, x1, place), along(y0, cy, y1, place), 3.2)
  top.fill()
}

function along(from, control, to, share) {
  const rest = 1 - share
  return rest * rest * from + 2 * rest * share * control + share * share * to
}

// The nodes that an answer named.
function paintNamed(stage, network, to, query) {
  const { layout, top } = stage
  top.strokeStyle = ink.answer
  top.lineWidth = 1
  top.globalAlpha = 0.55
  top.setLineDash([1, 3])
  top.beginPath()
  for (const named of query.nodes) {
    const node = network.at(named.endpoint)
    if (!node || node === to) continue
    const x0 = layout.x[to.slot]
    const y0 = layout.y[to.slot]
    const x1 = layout.x[node.slot]
    const y1 = layout.y[node.slot]
    layout.bend(x0, y0, x1, y1, bend, to.id, node.id)
    top.moveTo(x0, y0)
    top.quadraticCurveTo(bend[0], bend[1], x1, y1)
  }
  top.stroke()
  top.setLineDash([])
  top.globalAlpha = 1
}

function paintAsked(stage, to, query, state, size, isNumbered) {
  const { layout, top } = stage
  const x = layout.x[to.slot]
  const y = layout.y[to.slot]
  const colour = query.peers.length && state === "answered" ? ink.target : ink[COLOURS[state]]
  top.fillStyle = ink.bg
  circle(top, x, y, size + 1.5)
  top.fill()
  if (state === "answered") {
    top.fillStyle = colour
    circle(top, x, y, size)
    top.fill()
  } else if (state === "silent" || state === "refused") {
    top.strokeStyle = colour
    top.lineWidth = 2
    top.beginPath()
    top.moveTo(x - size, y - size)
    top.lineTo(x + size, y + size)
    top.moveTo(x + size, y - size)
    top.lineTo(x - size, y + size)
    top.stroke()
  } else paintRing(top, x, y, size, colour)
  if (!isNumbered) return
  const out = size + 9
  const angle = layout.kind === "ring" ? Math.atan2(y - layout.cy, x - layout.cx) : Math.PI / 2
  const left = x - out * Math.cos(angle)
  const up = y - out * Math.sin(angle)
  for (let other = 0; other < written.length; other += 2) {
    if (Math.abs(written[other] - left) < 11 && Math.abs(written[other + 1] - up) < 10) return
  }
  written.push(left, up)
  top.fillStyle = ink.ink
  top.fillText(String(query.number), left, up)
}

function paintRing(top, x, y, radius, colour) {
  top.strokeStyle = colour
  top.lineWidth = 1.8
  circle(top, x, y, radius)
  top.stroke()
}

// The target: in the ring a mark outside, in the tree the way to it from the root.
function paintTarget(stage, lookup) {
  const { layout, top } = stage
  top.strokeStyle = ink.target
  top.fillStyle = ink.target
  top.lineWidth = 1.5
  const [x, y] = layout.at(lookup.target, layout.kind === "ring" ? 7 : 9)
  if (layout.kind === "tree") paintWay(layout, top, lookup.target)
  const [x1, y1] = layout.at(lookup.target, layout.kind === "ring" ? 28 : 30)
  top.beginPath()
  top.moveTo(x, y)
  top.lineTo(x1, y1)
  top.stroke()
  square(top, x1, y1, 3.5)
  top.fill()
}

// Down the tree by the bits of the target, as far as any node goes.
function paintWay(tree, top, target) {
  if (!tree.forks.length) return
  top.globalAlpha = 0.8
  top.beginPath()
  let child = -tree.forks.length
  top.moveTo(tree.forks[-1 - child].x, tree.down(0))
  while (child < 0) {
    const fork = tree.forks[-1 - child]
    const next = bitAt(target, fork.depth) ? fork.right : fork.left
    const x = tree._left(next)
    top.lineTo(fork.x, tree.down(fork.depth))
    top.lineTo(x, tree.down(fork.depth))
    child = next
    if (next >= 0) top.lineTo(x, tree.base)
  }
  top.stroke()
  top.globalAlpha = 1
}

// A chosen node, and lines to those that it knows.
export function paintChosen(stage, network, chosen) {
  const node = chosen.node
  if (!node || network.get(node.key) !== node) return
  const { layout, top } = stage
  const x0 = layout.x[node.slot]
  const y0 = layout.y[node.slot]
  top.lineWidth = 1.4 * ink.scale
  for (const [links, colour] of [[chosen.links, ink.soft], [chosen.successors, ink.query]]) {
    top.strokeStyle = colour
    top.globalAlpha = 0.8
    top.beginPath()
    for (const link of links) {
      const to = network.get(link)
      if (!to || to === node) continue
      layout.bend(x0, y0, layout.x[to.slot], layout.y[to.slot], bend, node.id, to.id)
      top.moveTo(x0, y0)
      top.quadraticCurveTo(bend[0], bend[1], layout.x[to.slot], layout.y[to.slot])
    }
    top.stroke()
  }
  top.globalAlpha = 1
  top.fillStyle = ink.query
  for (const link of chosen.links) {
    const to = network.get(link)
    if (!to) continue
    circle(top, layout.x[to.slot], layout.y[to.slot], 2.2)
    top.fill()
  }
  paintRing(top, x0, y0, sizeOf(layout) + 6, ink.query)
}

export function paintHover(stage, node, text) {
  const { layout } = stage
  const x = layout.x[node.slot]
  const y = layout.y[node.slot]
  paintRing(stage.top, x, y, sizeOf(layout) + 4, ink.ink)
  stage.label(text, x, y - (y < 40 ? -22 : 22))
}
