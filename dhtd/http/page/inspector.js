// What is known of the node under the pointer, or of the chosen one.

import { binary, sharedBits } from "./ids.js"
import { byId, count, make, milliseconds, number } from "./words.js"

const STANDINGS = {
  own: "this node", good: "good: it answered lately", questionable: "questionable: it was silent for a while",
  bad: "bad: it does not answer", heard: "only heard of", live: "live", dead: "dead",
}

export function showNode(node, chosen, network, source, actions) {
  const host = byId("inspector-body")
  if (!node) {
    host.replaceChildren(make("p", { class: "quiet" }, "Point at a node, or choose one by click or with the keyboard."))
    return
  }
  const rows = [["ID", node.id, true], ["endpoint", node.endpoint, true], ["standing", STANDINGS[node.standing] ?? node.standing]]
  if (node.rtt !== null) rows.push(["round trip", milliseconds(node.rtt)])
  const reference = chosen.node && chosen.node !== node ? chosen.node : network.own
  if (reference && reference !== node) {
    const shared = sharedBits(reference.id, node.id)
    const name = reference === network.own ? "this node" : "the chosen one"
    rows.push(["distance", `${count(shared, "bit")} in common with ${name}`])
  }
  if (node.bucket) rows.push(["bucket", node.bucket])
  rows.push(["begins with", `${binary(node.id, 16)}…`, true])
  const details = chosen.node === node ? chosen : null
  if (node.held && !details) rows.push(["holds", count(node.held, "entry")])
  if (details) {
    for (const [name, text] of details.facts) rows.push([name, text])
  }
  const list = make("dl", { class: "facts" })
  for (const [name, text, isMono] of rows) {
    list.append(make("dt", {}, name), make("dd", isMono ? { class: "mono" } : {}, text))
  }
  const buttons = details ? actions(node).map(([text, run]) => make("button", { type: "button", onclick: run }, text)) : []
  host.replaceChildren(list, ...(buttons.length ? [make("div", { class: "tools" }, ...buttons)] : []))
}

export function labelOf(node) {
  return `${node.id.slice(0, 8)}… ${node.endpoint}${node.rtt === null ? "" : `, ${milliseconds(node.rtt)}`}${
    node.held ? `, holds ${number(node.held)}` : ""}`
}
