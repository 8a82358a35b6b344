// One picture of the keyspace: three canvases above one another, so that only what moves is drawn again.
// The backdrop changes with the network, the trails fade, and the top layer is drawn in each frame.

import { paintBackdrop } from "./backdrop.js"
import { font, ink } from "./theme.js"

const SLOW = 700 // nodes; the backdrop of more is drawn twice a second at most
const FADE_EVERY = 90 // milliseconds
const FADED = 40 // times until nothing is left
const PIXELS = 9e6 // in a canvas at most

export class Stage {
  constructor(host, layout, network) {
    this.host = host
    this.layout = layout
    this.network = network
    this.bit = layout.kind === "ring" ? 1 : 2 // of `drawn` of a query
    this.canvases = ["backdrop", "trails", "top"].map(name => {
      const canvas = document.createElement("canvas")
      canvas.className = name
      canvas.setAttribute("aria-hidden", "true")
      host.append(canvas)
      return canvas
    });
    [this.backdrop, this.trails, this.top] = this.canvases.map(canvas => canvas.getContext("2d"))
    this.isStale = true
    this._version = -1
    this._drawnAt = -1e9
    this._fadedAt = 0
    this._left = 0 // fades until the trails are gone
    new ResizeObserver(() => this.resize()).observe(host)
    this.resize()
  }

  get isShown() {
    return this.width > 0 && this.height > 0
  }

  resize() {
    this.width = this.host.clientWidth
    this.height = this.host.clientHeight
    if (!this.isShown) return
    const most = Math.sqrt(PIXELS / (this.width * this.height))
    this.scale = Math.min(devicePixelRatio, most)
    this.canvases.forEach((canvas, at) => {
      canvas.width = Math.round(this.width * this.scale)
      canvas.height = Math.round(this.height * this.scale)
      const context = [this.backdrop, this.trails, this.top][at]
      context.setTransform(this.scale, 0, 0, this.scale, 0, 0)
    })
    this.isStale = true
    this._drawnAt = -1e9
  }

  // Bring the backdrop up to date. Returns whether it was drawn.
  refresh(now, chosen) {
    if (!this.isShown) return false
    if (this._version === this.network.version && !this.isStale) return false
    if (this.network.count > SLOW && now - this._drawnAt < 500 && !this.isStale) return false
    this._version = this.network.version
    this.isStale = false
    this._drawnAt = now
    this.layout.layOut(this.network, this.width, this.height)
    paintBackdrop(this.backdrop, this.layout, this.network, chosen)
    this.host.dataset.drawn = this.layout.order.length
    return true
  }

  // Have the trails fade a little, now and then.
  fade(now) {
    if (!this._left || now - this._fadedAt < FADE_EVERY) return
    this._fadedAt = now
    this._left -= 1
    if (!this._left) {
      this.trails.clearRect(0, 0, this.width, this.height)
      return
    }
    this.trails.globalCompositeOperation = "destination-out"
    this.trails.globalAlpha = 0.1
    this.trails.fillStyle = "#000"
    this.trails.fillRect(0, 0, this.width, this.height)
    this.trails.globalCompositeOperation = "source-over"
    this.trails.globalAlpha = 1
  }

  trail(x0, y0, cx, cy, x1, y1, colour, strength) {
    this._left = FADED
    this.trails.strokeStyle = colour
    this.trails.lineWidth = ink.scale
    this.trails.globalAlpha = strength
    this.trails.beginPath()
    this.trails.moveTo(x0, y0)
    this.trails.quadraticCurveTo(cx, cy, x1, y1)
    this.trails.stroke()
    this.trails.globalAlpha = 1
  }

  wipe() {
    this.trails.clearRect(0, 0, this.width, this.height)
    this._left = 0
  }

  clearTop() {
    this.top.clearRect(0, 0, this.width, this.height)
  }

  label(text, x, y) {
    this.top.font = font(11, "system-ui, sans-serif")
    this.top.textBaseline = "middle"
    const width = this.top.measureText(text).width + 10
    const left = Math.max(4, Math.min(this.width - width - 4, x - width / 2))
    this.top.fillStyle = ink.panel
    this.top.globalAlpha = 0.9
    this.top.fillRect(left, y - 9, width, 18)
    this.top.globalAlpha = 1
    this.top.fillStyle = ink.ink
    this.top.textAlign = "left"
    this.top.fillText(text, left + 5, y)
  }
}
