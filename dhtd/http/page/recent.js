// The list of recent lookups. It stands still while the visitor is in it.

import { short } from "./ids.js"
import { purposes } from "./player.js"
import { byId, count, make, milliseconds, number, setText } from "./words.js"

const SHOWN = 40
const EVERY = 600 // milliseconds

export class Recent {
  constructor(recorder, choose) {
    this._recorder = recorder
    this._choose = choose
    this._host = byId("recent")
    this._version = -1
    this._at = -1e9
    this._chosen = null
    this._isHeld = false
    this._host.addEventListener("pointerenter", () => { this._isHeld = true })
    this._host.addEventListener("pointerleave", () => { this._isHeld = false })
  }

  mark(lookup) {
    this._chosen = lookup
    for (const row of this._host.children) row.firstChild.setAttribute("aria-pressed", String(row.lookup === lookup))
  }

  frame(now) {
    if (this._version === this._recorder.version || now - this._at < EVERY) return
    if (this._isHeld || this._host.querySelector(":focus-visible")) return // a click alone does not hold it
    this._version = this._recorder.version
    this._at = now
    const { lookups } = this._recorder
    setText(byId("recent-count"), lookups.length ? this._untold() : "None yet. Every search comes here.")
    // Where many are under way, those that are over say more.
    const isBusy = lookups.length > SHOWN
    const rows = lookups.filter(lookup => lookup.isOver || !isBusy || lookup === this._chosen).slice(-SHOWN).reverse()
    this._host.replaceChildren(...rows.map(lookup => this._row(lookup)))
  }

  _untold() {
    const { untold } = this._recorder
    return untold ? `${number(untold)} more were too many to be told` : ""
  }

  _row(lookup) {
    const row = make("li", {}, make("button",
      { type: "button", "aria-pressed": String(lookup === this._chosen), onclick: () => this._choose(lookup) },
      make("span", { class: "what" }, lookup.name ?? make("span", { class: "mono" }, short(lookup.target))),
      make("span", { class: "how" }, lookup.isOver ? milliseconds(lookup.summary.elapsed_ms) : "under way"),
      make("span", { class: "note" }, note(lookup))))
    row.lookup = lookup
    return row
  }
}

function note(lookup) {
  const { summary } = lookup
  const parts = [purposes[lookup.purpose] ?? lookup.purpose]
  if (summary?.lost) parts.push("its end was not told")
  else if (summary?.hops === null) parts.push("cut short: its node is gone")
  else if (summary) {
    parts.push(count(summary.hops, "hop"), `${number(summary.responses)} of ${number(summary.queries)} answered`)
    if (summary.found === false) parts.push("not found")
  }
  return parts.join(" · ")
}
