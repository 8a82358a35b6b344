// What is known of the node under the pointer, or of the chosen one.

import { binary, sharedBits } from "./ids.js"
import { count, make, milliseconds } from "./words.js"

const STANDINGS = {
  own: "this node", good: "good: it answered lately", questionable: "questionable: it was silent for a while",
  bad: "bad: it does not answer", heard: "only heard of", live: "live", dead: "dead",
}

export class Inspector {
  // `told` is read aloud as the keyboard goes from node to node; `refuge` gets the focus of a button that goes.
  constructor(host, told, network, refuge) {
    this._network = network
    this._told = told
    this._refuge = refuge
    this._list = make("dl", { class: "facts" })
    this._tools = make("div", { class: "tools" })
    this._none = make("p", { class: "quiet" }, "Point at a node, or choose one by click or with the keyboard.")
    this._shown = ""
    this._able = ""
    host.replaceChildren(this._none, this._list, this._tools)
  }

  // Show a node. What is shown already stays as it is, so that no focus is lost.
  show(node, chosen, actions) {
    this._none.hidden = node !== null
    const rows = node ? this._rows(node, chosen) : []
    const shown = JSON.stringify(rows)
    if (shown !== this._shown) {
      this._shown = shown
      this._list.replaceChildren(...rows.flatMap(([name, text, isMono]) =>
        [make("dt", {}, name), make("dd", isMono ? { class: "mono" } : {}, text)]))
    }
    const able = node && chosen.node === node ? actions(node) : []
    const names = JSON.stringify([able.length ? node.id : null, ...able.map(([text]) => text)])
    if (names === this._able) return
    this._able = names
    if (this._tools.contains(document.activeElement)) this._refuge.focus()
    this._tools.replaceChildren(...able.map(([text, run]) => make("button", { type: "button", onclick: run }, text)))
    this._tools.hidden = !able.length
  }

  tell(node) {
    this._told.textContent = node ? `${labelOf(node)}, ${STANDINGS[node.standing] ?? node.standing}` : ""
  }

  _rows(node, chosen) {
    const rows = [["ID", node.id, true], ["endpoint", node.endpoint, true], ["standing", STANDINGS[node.standing] ?? node.standing]]
    if (node.rtt !== null) rows.push(["round trip", milliseconds(node.rtt)])
    const { own } = this._network
    const reference = chosen.node && chosen.node !== node ? chosen.node : own
    if (reference && reference !== node) {
      const shared = sharedBits(reference.id, node.id)
      rows.push(["distance", `${count(shared, "bit")} in common with ${reference === own ? "this node" : "the chosen one"}`])
    }
    if (node.bucket) rows.push(["bucket", node.bucket])
    rows.push(["begins with", `${binary(node.id, 16)}…`, true])
    return chosen.node === node ? [...rows, ...chosen.facts] : rows
  }
}

export function labelOf(node) {
  return `${node.id.slice(0, 8)}… ${node.endpoint}${node.rtt === null ? "" : `, ${milliseconds(node.rtt)}`}`
}
