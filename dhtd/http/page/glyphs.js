// How a node looks: its standing has a shape as well as a colour. Paths of one standing are painted at once.

import { ink } from "./theme.js"

const FULL = 2 * Math.PI

export function addGlyph(path, standing, x, y, size) {
  if (standing === "questionable") {
    path.moveTo(x, y - size * 1.3)
    path.lineTo(x + size * 1.3, y)
    path.lineTo(x, y + size * 1.3)
    path.lineTo(x - size * 1.3, y)
    path.closePath()
  } else if (standing === "bad" || standing === "dead") {
    path.moveTo(x - size, y - size)
    path.lineTo(x + size, y + size)
    path.moveTo(x + size, y - size)
    path.lineTo(x - size, y + size)
  } else {
    path.moveTo(x + size, y)
    path.arc(x, y, size, 0, FULL)
  }
}

export function paintGlyphs(context, path, standing, size) {
  context.lineWidth = Math.max(1, size / 3)
  context.globalAlpha = 1
  if (standing === "questionable") {
    context.fillStyle = ink.bg
    context.strokeStyle = ink.slow
    context.fill(path)
    context.stroke(path)
  } else if (standing === "bad" || standing === "dead") {
    context.strokeStyle = ink.silent
    context.globalAlpha = standing === "dead" ? 0.55 : 1
    context.stroke(path)
  } else if (standing === "heard") {
    context.fillStyle = ink.heard
    context.fill(path)
  } else {
    context.fillStyle = standing === "own" ? ink.ink : ink.good
    context.fill(path)
  }
  context.globalAlpha = 1
}

export function circle(context, x, y, radius) {
  context.beginPath()
  context.arc(x, y, radius, 0, FULL)
}

export function square(context, x, y, half) {
  context.beginPath()
  context.rect(x - half, y - half, 2 * half, 2 * half)
}
