// The measured figures. Where nothing was measured yet, they say so.

import { count, make, milliseconds, number, rate } from "./words.js"

const KEPT = 60 // values of a spark line
const ORDER = ["good", "questionable", "bad", "live", "dead", "heard"]
const NAMED = { heard: "only heard of" }

export class Figures {
  constructor(host, hopsADoubling) {
    this._host = host
    this._sparks = { out: [], in: [] }
    this._hopsADoubling = hopsADoubling // what is expected: log2(N) / 4.4, or log2(N) / 2
  }

  show(figures, network) {
    for (const name of ["out", "in"]) {
      if (figures[name] === null || figures[name] === undefined) continue
      this._sparks[name].push(figures[name])
      if (this._sparks[name].length > KEPT) this._sparks[name].shift()
    }
    const rows = figures.in === undefined
      ? [this._rate("Queries of lookups, a virtual second", figures.out, "out")]
      : [this._rate("Queries sent a second", figures.out, "out"), this._rate("Queries taken a second", figures.in, "in")]
    this._host.replaceChildren(
      ...rows, times(figures), standings(network), this._hops(figures, network),
      ...(figures.found !== undefined ? [found(figures)] : []),
      ...(figures.limits !== undefined ? [limits(figures.limits)] : []),
    )
  }

  _rate(name, value, spark) {
    const isThere = value !== null && value !== undefined
    return make("div", { class: "figure" },
      make("div", { class: "name" }, name),
      isThere ? make("div", { class: "value" }, rate(value)) : make("div", { class: "value none" }, "not measured yet"),
      isThere ? sparkLine(this._sparks[spark]) : null,
    )
  }

  _hops(figures, network) {
    const block = make("div", { class: "figure-block" }, make("div", { class: "name" }, "Hops of a lookup"))
    const rows = Object.entries(figures.hops).map(([hops, many]) => [Number(hops), many])
    const total = rows.reduce((sum, [, many]) => sum + many, 0)
    if (!total) {
      block.append(make("p", { class: "words" }, "No lookup has ended yet."))
      return block
    }
    const mean = rows.reduce((sum, [hops, many]) => sum + hops * many, 0) / total
    const divisor = this._hopsADoubling(network)
    const expected = network.size > 1 ? Math.log2(network.size) / divisor : null
    block.append(histogram(rows, total, mean, expected))
    block.append(make("div", { class: "keys" },
      make("span", {}, `mean ${mean.toFixed(2)}`),
      expected === null ? "The size of the network is not known yet."
        : make("span", { class: "expected" },
          `log2(N) / ${divisor} = ${expected.toFixed(2)}, N ${network.isEstimated ? "about " : ""}${number(network.size)}`),
    ))
    return block
  }
}

function sparkLine(values) {
  const most = Math.max(...values, 1e-9)
  const points = values.map((value, at) => `${(96 * (at + KEPT - values.length)) / (KEPT - 1)},${25 - (23 * value) / most}`)
  return make("svg", { viewBox: "0 0 96 26", "aria-hidden": "true" },
    make("path", { class: "spark", d: points.length > 1 ? `M${points.join("L")}` : "M0,0" }))
}

function times(figures) {
  const block = make("div", { class: "figure-block" }, make("div", { class: "name" }, "Time of a lookup"))
  if (figures.p50 === null) {
    block.append(make("p", { class: "words" }, "No lookup has ended yet."))
    return block
  }
  const value = (name, milli) => make("div", { class: "figure" },
    make("div", { class: "value" }, milliseconds(milli), make("small", {}, name)))
  block.append(make("div", { class: "pair" }, value("p50", figures.p50), value("p99", figures.p99)))
  block.append(make("p", { class: "words" }, `the latest ${number(figures.count)} ${figures.what}`))
  return block
}

function standings(network) {
  const counts = network.counts()
  const rows = ORDER.filter(standing => counts[standing])
  const total = rows.reduce((sum, standing) => sum + counts[standing], 0)
  const bar = make("div", { class: "standing", "aria-hidden": "true" })
  const words = make("p", { class: "words" })
  for (const standing of rows) {
    const part = make("i", { class: standing })
    part.style.flexGrow = counts[standing]
    bar.append(part)
    words.append(make("b", {}, number(counts[standing])), ` ${NAMED[standing] ?? standing}  `)
  }
  if (!total) words.append("no other node")
  return make("div", { class: "figure-block" }, make("div", { class: "name" }, "Nodes by standing"), bar, words)
}

function found(figures) {
  const words = figures.asked
    ? `${number(figures.found)} of ${number(figures.asked)} lookups found what was entered`
    : "No lookup has ended yet."
  return make("div", { class: "figure-block" }, make("div", { class: "name" }, "Found"), make("p", { class: "words" }, words))
}

function limits(hits) {
  const block = make("div", { class: "figure-block" }, make("div", { class: "name" }, "Limits hit since the start"))
  if (hits === null) {
    block.append(make("p", { class: "words" }, "not measured yet"))
    return block
  }
  const rows = Object.entries(hits).filter(([, many]) => many).sort((a, b) => b[1] - a[1]).slice(0, 6)
  const words = make("p", { class: "words" })
  for (const [cap, many] of rows) words.append(make("b", {}, number(many)), ` ${cap.replaceAll("_", " ")}  `)
  if (!rows.length) words.append("none")
  block.append(words)
  return block
}

function histogram(rows, total, mean, expected) {
  const last = Math.max(4, Math.ceil(expected ?? 0) + 1, ...rows.map(([hops]) => hops))
  const most = Math.max(...rows.map(([, many]) => many))
  const width = 300
  const step = (width - 10) / (last + 1)
  const across = hops => 5 + step * (hops + 0.5)
  const told = rows.map(([hops, many]) => `${count(many, "lookup")} with ${count(hops, "hop")}`).join(", ")
  const svg = make("svg", { class: "hops", viewBox: `0 0 ${width} 118`, role: "img", "aria-label": told })
  svg.append(make("line", { class: "axis", x1: 0, x2: width, y1: 100.5, y2: 100.5 }))
  const labelled = last > 12 ? 5 : 1
  for (let hops = 0; hops <= last; hops += labelled) svg.append(make("text", { x: across(hops), y: 114 }, String(hops)))
  const shares = []
  for (const [hops, many] of rows) {
    const height = (80 * many) / most
    const wide = Math.max(2, step * 0.72)
    svg.append(make("rect", { x: across(hops) - wide / 2, y: 100 - height, width: wide, height, rx: 1.5 }))
    const share = `${Math.round((100 * many) / total)} %`
    if (step > 16) shares.push(make("text", { class: "share", x: across(hops), y: 95 - height }, share))
  }
  svg.append(make("line", { class: "mean", x1: across(mean), x2: across(mean), y1: 4, y2: 100 }))
  if (expected !== null) {
    svg.append(make("line", { class: "expected", x1: across(expected), x2: across(expected), y1: 4, y2: 100 }))
  }
  svg.append(...shares) // above the lines
  return svg
}
