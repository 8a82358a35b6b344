// The two charts of a lookup: its queries as bars over time, and how it closes in on its target.

import { Lookup } from "./lookup.js"
import { COLOURS } from "./show.js"
import { font, ink } from "./theme.js"

function prepared(canvas) {
  const scale = Math.min(2, devicePixelRatio)
  const width = canvas.clientWidth
  const height = canvas.clientHeight
  if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
    canvas.width = Math.round(width * scale)
    canvas.height = Math.round(height * scale)
  }
  const context = canvas.getContext("2d")
  context.setTransform(scale, 0, 0, scale, 0, 0)
  context.clearRect(0, 0, width, height)
  return { context, width, height }
}

export function paintWaterfall(canvas, lookup, at) {
  const { context, width, height } = prepared(canvas)
  const end = lookup.duration
  const across = time => 2 + ((width - 4) * time) / end
  const rows = Math.max(8, lookup.queries.length)
  const step = (height - 4) / rows
  const thick = Math.max(1, Math.min(9, step * 0.62))
  lookup.queries.forEach((query, row) => {
    const state = Lookup.stateAt(query, at)
    const y = 2 + step * (row + 0.5) - thick / 2
    const until = query.ended ?? end
    context.fillStyle = state === null ? ink.line : ink[COLOURS[state]]
    context.globalAlpha = state === null ? 0.7 : 1
    context.fillRect(across(query.asked), y, Math.max(1.5, across(until) - across(query.asked)), thick)
    if (state !== null && query.peers.length && state === "answered") {
      context.fillStyle = ink.target
      context.fillRect(across(until) - 1, y - 1, 4, thick + 2)
    }
    context.globalAlpha = 1
  })
  playhead(context, across(at), height)
}

export function paintClosing(canvas, lookup, at, { size, isRing }) {
  const { context, width, height } = prepared(canvas)
  const rows = lookup.closing(isRing)
  const end = lookup.duration
  const expected = size > 1 ? Math.log2(size) : null
  const most = Math.max(4, expected ?? 0, ...rows.map(([, bits]) => bits)) * 1.12
  const left = 22
  const across = time => left + ((width - left - 4) * time) / end
  const up = bits => height - 5 - ((height - 12) * bits) / most
  context.font = font(10)
  context.textAlign = "right"
  context.textBaseline = "middle"
  context.lineWidth = 1
  const step = most > 40 ? 16 : most > 14 ? 4 : 2
  for (let bits = 0; bits <= most; bits += step) {
    context.strokeStyle = ink.line
    context.beginPath()
    context.moveTo(left, Math.round(up(bits)) + 0.5)
    context.lineTo(width, Math.round(up(bits)) + 0.5)
    context.stroke()
    context.fillStyle = ink.soft
    context.fillText(String(bits), left - 5, up(bits))
  }
  if (expected !== null) {
    context.strokeStyle = ink.target
    context.setLineDash([4, 3])
    context.beginPath()
    context.moveTo(left, up(expected))
    context.lineTo(width, up(expected))
    context.stroke()
    context.setLineDash([])
    context.fillStyle = ink.target
    context.textAlign = "right"
    context.fillText("log2(N)", width - 2, up(expected) - 8)
  }
  line(context, rows, end, across, up, ink.line, 2)
  line(context, rows.filter(([when]) => when <= at), at, across, up, ink.query, 2)
  playhead(context, across(at), height)
}

function line(context, rows, until, across, up, colour, width) {
  if (!rows.length) return
  context.strokeStyle = colour
  context.lineWidth = width
  context.beginPath()
  context.moveTo(across(rows[0][0]), up(rows[0][1]))
  let before = rows[0][1]
  for (const [when, bits] of rows) {
    context.lineTo(across(when), up(before))
    context.lineTo(across(when), up(bits))
    before = bits
  }
  context.lineTo(across(until), up(rows[rows.length - 1][1]))
  context.stroke()
}

function playhead(context, x, height) {
  context.strokeStyle = ink.ink
  context.lineWidth = 1
  context.beginPath()
  context.moveTo(Math.round(x) + 0.5, 0)
  context.lineTo(Math.round(x) + 0.5, height)
  context.stroke()
}
