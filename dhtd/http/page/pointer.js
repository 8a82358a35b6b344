// Pointer and keyboard on the pictures: which node is under the pointer, which one is chosen.

import { byId } from "./words.js"

export class Pointer {
  constructor(stages, network, { hover, choose, tell }) {
    this._stages = stages
    this._network = network
    this.hovered = null
    this._hover = hover
    this._choose = choose
    this._tell = tell // read a node aloud
    const host = byId("map")
    for (const stage of stages) {
      stage.host.addEventListener("pointermove", event => this._point(stage, event))
      stage.host.addEventListener("pointerleave", () => this._set(null))
      stage.host.addEventListener("click", event => {
        this._point(stage, event)
        this._choose(this.hovered)
      })
    }
    host.addEventListener("keydown", event => this._key(event))
    host.addEventListener("blur", () => this._set(null))
  }

  // The node under the pointer may be gone, or be known anew.
  check() {
    if (this.hovered && this._network.get(this.hovered.key) !== this.hovered) this._set(this._network.get(this.hovered.key) ?? null)
  }

  _point(stage, event) {
    const box = stage.host.getBoundingClientRect()
    this._set(stage.layout.nearest(event.clientX - box.left, event.clientY - box.top, this._network))
  }

  _set(node) {
    if (node === this.hovered) return
    this.hovered = node
    this._hover(node)
  }

  _key(event) {
    if (event.ctrlKey || event.altKey || event.metaKey) return // they are the browser's
    const steps = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1, PageDown: 10, PageUp: -10 }
    const order = this._network.sorted()
    if (!order.length) return
    if (event.key in steps || event.key === "Home" || event.key === "End") {
      event.preventDefault()
      const own = this._network.own
      const from = this.hovered ? order.indexOf(this.hovered) : own ? order.indexOf(own) : 0
      const to = event.key === "Home" ? 0 : event.key === "End" ? order.length - 1 : from + steps[event.key]
      this._set(order[(to + order.length) % order.length])
      this._tell(this.hovered)
    } else if (event.key === "Enter" || event.key === " ") {
      event.preventDefault()
      this._choose(this.hovered)
      this._tell(this.hovered)
    } else if (event.key === "Escape") {
      this._set(null)
      this._choose(null)
    }
  }
}
