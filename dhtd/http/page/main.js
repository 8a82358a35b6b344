// Puts the page together: a source gives the model, pictures and panels show it, and one loop draws them.

import { Api, Problem } from "./api.js"
import { Follow } from "./clock.js"
import { Daemon } from "./daemon.js"
import { Figures } from "./figures.js"
import { paintChosen, paintHover, paintLookup } from "./focus.js"
import { labelOf, showNode } from "./inspector.js"
import { fillLegend } from "./legend.js"
import { Network } from "./network.js"
import { Player } from "./player.js"
import { Pointer } from "./pointer.js"
import { Recent } from "./recent.js"
import { Recorder } from "./recorder.js"
import { Ring } from "./ring.js"
import { Show } from "./show.js"
import { Simulation } from "./simulation.js"
import { Stage } from "./stage.js"
import { Table } from "./table.js"
import { startTheme, still } from "./theme.js"
import { askForToken, dropToken, takeToken } from "./token.js"
import { Tree } from "./tree.js"
import { byId, count, number, setText } from "./words.js"
import { World } from "./world.js"

const DELAY = 0.4 // seconds that pictures are behind the events
const WIDE = 780 // pixels of the map from which both pictures have room

const kind = document.documentElement.dataset.source
const network = new Network()
const recorder = new Recorder()
const follow = new Follow(DELAY)
const show = new Show(network)
const nothing = { node: null, facts: [], links: [], successors: [], buckets: [] }
let chosen = nothing
let source = null
let world = null

const map = byId("map")
const stages = [new Ring(), new Tree()].map(layout => new Stage(map.querySelector(`[data-pane=${layout.kind}]`), layout, network))
const figures = new Figures(byId("figures-body"), () => (network.isRing ? 2 : 4.4))
const player = new Player(network, lookup => {
  recent.mark(lookup)
  map.toggleAttribute("data-replay", lookup !== null)
  map.dataset.asked = JSON.stringify(lookup ? lookup.queries.map(query => query.endpoint) : [])
  for (const stage of stages) stage.wipe()
  if (lookup) source.remember(lookup)
})
const recent = new Recent(recorder, lookup => player.choose(lookup))
const table = new Table(network, choose)
const pointer = new Pointer(stages, network, { hover: inspect, choose })

function inspect() {
  const node = pointer.hovered ?? chosen.node
  showNode(node, chosen, network, source, each => source.actions(each))
}

async function choose(node) {
  chosen = node ? { ...nothing, node, buckets: chosen.buckets } : { ...nothing, buckets: source.buckets }
  inspect()
  if (node) {
    await attempt(async () => {
      const told = await source.describe(node)
      if (chosen.node === node) chosen = { ...nothing, node, ...told }
    })
  }
  map.dataset.chosen = node?.id ?? ""
  for (const stage of stages) stage.isStale = true
  inspect()
}

// Do something that may fail for a reason that the server tells; the page tells it on.
async function attempt(work) {
  try {
    await work()
    byId("problem").hidden = true
  } catch (error) {
    if (!(error instanceof Problem)) throw error
    problem(error.message)
  }
}

function problem(text) {
  byId("problem").hidden = false
  setText(byId("problem"), `${text[0].toUpperCase()}${text.slice(1)}`)
}

const tell = {
  status(isLive, text) {
    const host = byId("connection")
    host.dataset.is = isLive ? "live" : "broken"
    setText(host, isLive ? "live" : "no connection")
    if (text) problem(text)
    else byId("problem").hidden = true
  },
  problem,
  refused(text) {
    if (source.isStopped) return // it was told before
    source.stop()
    dropToken()
    begin(text)
  },
  time: (at, rate) => {
    if (rate !== undefined) follow.setRate(rate, performance.now() / 1000)
    follow.told(at, performance.now() / 1000)
  },
  begun: lookup => show.begin(lookup),
  figures: () => figures.show(source.figures(), network),
  changed() {
    if (!chosen.node) chosen = { ...nothing, buckets: source.buckets }
    else if (network.get(chosen.node.key) !== chosen.node) choose(null)
    about()
  },
  cleared() {
    show.clear()
    for (const stage of stages) stage.wipe()
  },
  choose: lookup => player.choose(lookup),
}

function about() {
  const size = network.size === null ? "the size of the network is not known yet"
    : `${network.isEstimated ? "about " : ""}${count(network.size, "node")} in the network`
  setText(byId("map-count"), `${count(network.count, "node")} known here, ${size}`)
  setText(byId("about"), source.about())
}

function frame() {
  requestAnimationFrame(frame) // first, so that the page goes on whatever happens in this one
  const now = performance.now()
  const shown = source?.shown?.() ?? follow.shown(now / 1000)
  for (const stage of stages) {
    if (!stage.isShown) continue
    stage.refresh(now, chosen)
    stage.fade(now)
    stage.clearTop()
    paintChosen(stage, network, chosen)
    if (player.lookup) paintLookup(stage, network, player.lookup, player.at(now))
    else if (still.matches) paintLatest(stage)
    else if (shown !== null) show.paint(stage, shown)
    if (pointer.hovered) paintHover(stage, pointer.hovered, labelOf(pointer.hovered))
  }
  if (shown !== null) show.settle(shown)
  player.frame(now)
  recent.frame(now)
  table.frame(now)
  world?.frame(now)
}

// Where nothing may move, the latest lookup is shown as it ended.
function paintLatest(stage) {
  const latest = recorder.lookups.findLast(lookup => lookup.isOver)
  if (latest) paintLookup(stage, network, latest, latest.duration)
}

function view(name) {
  map.dataset.view = name
  for (const button of document.querySelectorAll("[data-view]:is(button)")) {
    button.setAttribute("aria-pressed", String(button.dataset.view === name))
  }
  for (const stage of stages) stage.resize()
}

byId("start").addEventListener("submit", async event => {
  event.preventDefault()
  const result = byId("start-result")
  const text = event.target.elements.wanted.value.trim()
  setText(result, "Asking the network …")
  try {
    setText(result, await source.lookUp(text))
  } catch (error) {
    if (!(error instanceof Problem)) throw error
    setText(result, error.message)
  }
})

async function begin(reason) {
  const api = new Api()
  if (kind === "daemon") {
    api.token = takeToken()
    // A Unix socket behind a proxy needs no token, so an empty one is tried first.
    if (reason) api.token = await askForToken(byId("ask"), reason)
  }
  source = kind === "daemon" ? new Daemon(api, network, recorder, tell) : new Simulation(api, network, recorder, tell)
  try {
    await source.start()
  } catch (error) {
    if (!(error instanceof Problem)) throw error
    if (error.status === 401) {
      dropToken()
      await begin(api.token ? "This is not its token: perhaps there is a new one." : "The daemon tells nothing without it.")
      return
    }
    tell.status(false, `The server of this page does not answer (${error.message}). The page tries again by itself.`)
    setTimeout(() => begin(), 2_000)
    return
  }
  about()
  if (kind === "simulation") world ??= new World(byId("world"), source)
}

startTheme(byId("theme"), () => {
  for (const stage of stages) stage.isStale = true
})
fillLegend(byId("legend"), kind)
if (kind === "simulation") setText(byId("wanted-label"), "An ID; empty for any entry of the network")
byId("wanted").required = kind === "daemon"
for (const button of document.querySelectorAll("[data-view]:is(button)")) button.addEventListener("click", () => view(button.dataset.view))
if (map.clientWidth >= WIDE) view("both")
requestAnimationFrame(frame)
await begin()
