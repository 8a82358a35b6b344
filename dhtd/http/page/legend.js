// The signs of the pictures, drawn as they are there.

import { make } from "./words.js"

const FULL = { daemon: ["own", "good", "questionable", "bad", "heard", "entry", "held"], simulation: ["live", "dead", "entry", "held"] }
const COMMON = ["query", "answer", "slow", "silent", "target"]
const WORDS = {
  own: "this node", good: "good contact", questionable: "questionable", bad: "bad", heard: "only heard of",
  entry: "own entry of the node", held: "entry that it holds", live: "live node", dead: "dead", query: "query", answer: "answer", slow: "slow",
  silent: "silent", target: "target, and nodes that named endpoints",
}

export function fillLegend(host, kind) {
  host.replaceChildren(...[...FULL[kind], ...COMMON].map(name => make("li", {}, sign(name), WORDS[name])))
}

function sign(name) {
  const svg = make("svg", { viewBox: "0 0 14 14", "aria-hidden": "true" })
  const add = (tag, attributes) => svg.append(make(tag, attributes))
  const cross = { d: "M4 4L10 10M10 4L4 10", stroke: "var(--silent)", "stroke-width": 1.8, fill: "none" }
  switch (name) {
    case "own":
      add("circle", { cx: 7, cy: 7, r: 3, fill: "var(--ink)" })
      add("circle", { cx: 7, cy: 7, r: 6, fill: "none", stroke: "var(--ink)" })
      break
    case "good":
    case "live":
      add("circle", { cx: 7, cy: 7, r: 3.6, fill: "var(--good)" })
      break
    case "heard":
      add("circle", { cx: 7, cy: 7, r: 2.6, fill: "var(--heard)" })
      break
    case "questionable":
      add("path", { d: "M7 2.5L11.5 7L7 11.5L2.5 7Z", fill: "none", stroke: "var(--slow)", "stroke-width": 1.6 })
      break
    case "bad":
    case "dead":
      add("path", cross)
      break
    case "entry":
    case "target":
      add("rect", { x: 3.5, y: 3.5, width: 7, height: 7, fill: "var(--target)" })
      break
    case "held":
      add("path", { d: "M7 3V11", stroke: "var(--target)", "stroke-width": 1.5 })
      break
    default:
      add("path", {
        d: "M0 7H14", stroke: `var(--${name})`, "stroke-width": 2,
        "stroke-dasharray": name === "slow" ? "5 3" : name === "silent" ? "2 3" : "none",
      })
  }
  return svg
}
