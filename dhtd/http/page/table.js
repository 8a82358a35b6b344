// All nodes as a table, in pages: what the pictures show, for a screen reader and for whoever wants to read it.

import { byId, disable, make, milliseconds, setText } from "./words.js"

const ROWS = 100

export class Table {
  constructor(network, choose) {
    this._network = network
    this._choose = choose
    this._page = 0
    this._version = this._measured = -1
    this._at = -1e9
    this._body = byId("nodes").tBodies[0]
    byId("table-before").addEventListener("click", () => this._go(-1))
    byId("table-next").addEventListener("click", () => this._go(1))
    byId("table-details").addEventListener("toggle", () => { this._version = -1 })
  }

  _go(step) {
    this._page += step
    this._version = -1
    this._at = -1e9
  }

  frame(now) {
    if (now - this._at < 1_000 || !byId("table-details").open) return
    if (this._version === this._network.version && this._measured === this._network.measured) return
    if (this._body.querySelector(":focus-visible")) return // a click alone does not hold it
    this._version = this._network.version
    this._measured = this._network.measured
    this._at = now
    const order = this._network.sorted()
    const pages = Math.max(1, Math.ceil(order.length / ROWS))
    this._page = Math.min(pages - 1, Math.max(0, this._page))
    const [before, next] = [byId("table-before"), byId("table-next")]
    const refuge = pages === 1 ? byId("table-details").querySelector("summary") : null
    disable(before, this._page === 0, refuge ?? next)
    disable(next, this._page === pages - 1, refuge ?? before)
    setText(byId("table-page"), `page ${this._page + 1} of ${pages}`)
    this._body.replaceChildren(...order.slice(this._page * ROWS, (this._page + 1) * ROWS).map(node =>
      make("tr", { "data-id": node.id, "data-endpoint": node.endpoint, "data-standing": node.standing },
        make("td", {}, make("button", { type: "button", title: node.id, onclick: () => this._choose(node) }, node.id.slice(0, 12))),
        make("td", { class: "mono" }, node.endpoint), make("td", {}, node.standing), make("td", {}, milliseconds(node.rtt)))))
  }
}
