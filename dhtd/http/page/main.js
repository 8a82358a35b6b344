// Puts the page together: a source gives the model, pictures and panels show it, and one loop draws them.

import { Api, Problem } from "./api.js"
import { Follow } from "./clock.js"
import { Daemon } from "./daemon.js"
import { Figures } from "./figures.js"
import { paintChosen, paintHover, paintLookup } from "./focus.js"
import { Inspector, labelOf } from "./inspector.js"
import { fillLegend } from "./legend.js"
import { Network } from "./network.js"
import { Player } from "./player.js"
import { Pointer } from "./pointer.js"
import { Problems } from "./problems.js"
import { Recent } from "./recent.js"
import { Recorder } from "./recorder.js"
import { Ring } from "./ring.js"
import { Show } from "./show.js"
import { Simulation } from "./simulation.js"
import { Stage } from "./stage.js"
import { Table } from "./table.js"
import { startTheme, still } from "./theme.js"
import { askForToken, dropToken, knownToken, takeFromAddress } from "./token.js"
import { Tree } from "./tree.js"
import { byId, count, number, setText } from "./words.js"
import { World } from "./world.js"

const DELAY = 0.4 // seconds that pictures are behind the events
const WIDE = 780 // pixels of the map from which both pictures have room
const AGAIN = 2_000 // milliseconds between two looks at the chosen node, and between two lookups where nothing may move

const kind = document.documentElement.dataset.source
const network = new Network()
const recorder = new Recorder()
const follow = new Follow(DELAY)
const show = new Show(network)
const nothing = { node: null, facts: [], links: [], successors: [], buckets: [] }
let chosen = nothing
let describedAt = 0
let isConnected = false
let held = { lookup: null, since: -Infinity } // the lookup that is shown where nothing may move
let wishes = 0 // lookups that were asked for by the form
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
  source.remember(lookup)
})
const problems = new Problems(byId("problem"))
const inspector = new Inspector(byId("inspector-body"), byId("pointed"), network, map)
const recent = new Recent(recorder, lookup => player.choose(lookup))
const table = new Table(network, choose)
const pointer = new Pointer(stages, network, { hover: inspect, choose, tell: node => inspector.tell(node) })

function inspect() {
  inspector.show(pointer.hovered ?? chosen.node, chosen, each => source.actions(each))
}

async function choose(node) {
  chosen = { ...nothing, node, buckets: node ? chosen.buckets : source.buckets }
  map.dataset.chosen = node?.id ?? ""
  inspect()
  await describe()
}

// Ask what is known of the chosen node, or of none. The answer counts if that is still the chosen one.
async function describe() {
  const { node } = chosen
  describedAt = performance.now()
  try {
    const told = await source.describe(node)
    if (chosen.node !== node) return
    chosen = { ...nothing, node, ...told }
    for (const marks of ["own", "held"]) if (told[marks]) network.mark(marks, told[marks])
    problems.tell("reading", null)
  } catch (error) {
    if (!(error instanceof Problem)) throw error
    problems.tell("reading", error.message)
  }
  for (const stage of stages) stage.isStale = true
  inspect()
}

const tell = {
  status(isLive, text) {
    isConnected = isLive
    byId("connection").dataset.is = isLive ? "live" : "broken"
    setText(byId("connection"), isLive ? "live" : "no connection")
    problems.tell("connection", text)
  },
  problem: (text, kind = "request") => problems.tell(kind, text),
  failed: text => problems.tell("run", text),
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
    else if (network.get(chosen.node.key) !== chosen.node) choose(network.get(chosen.node.key) ?? null)
    pointer.check()
    inspect()
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
    else if (still.matches) paintLatest(stage, now)
    else if (shown !== null) show.paint(stage, shown)
    if (pointer.hovered) paintHover(stage, pointer.hovered, labelOf(pointer.hovered))
  }
  if (shown !== null) show.settle(shown)
  if (chosen.node && isConnected && now - describedAt > AGAIN) describe()
  player.frame(now)
  recent.frame(now)
  table.frame(now)
  world?.frame(now)
}

// Where nothing may move, the latest lookup is shown as it ended, and long enough that nothing flickers.
function paintLatest(stage, now) {
  if (now - held.since > AGAIN || !recorder.lookups.includes(held.lookup)) {
    held = { lookup: recorder.lookups.findLast(lookup => lookup.isOver && !lookup.summary.lost) ?? null, since: now }
    map.dataset.held = held.lookup?.op ?? ""
  }
  if (held.lookup) paintLookup(stage, network, held.lookup, held.lookup.duration)
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
  const wish = (wishes += 1)
  setText(result, "Asking the network …")
  const told = await lookUp(text)
  if (wish === wishes) setText(result, told) // else a later one is told
})

async function lookUp(text) {
  try {
    return source ? await source.lookUp(text, chosen.node) : "The page is not connected yet."
  } catch (error) {
    if (!(error instanceof Problem)) throw error
    return error.message
  }
}

async function begin(reason) {
  const api = new Api()
  if (kind === "daemon") {
    takeFromAddress()
    api.token = knownToken()
    // A Unix socket behind a proxy needs no token, so an empty one is tried first.
    if (reason) {
      byId("connection").dataset.is = "broken"
      setText(byId("connection"), "no token")
      problems.tell("connection", null)
      api.token = await askForToken(byId("ask"), byId("ask-again"), reason)
    }
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

for (const kind of ["error", "unhandledrejection"]) {
  addEventListener(kind, event => {
    problems.tell("defect", `this page has a defect, or its server is of another version: ${event.message ?? event.reason}. Load it again`)
  })
}
startTheme(byId("theme"), () => {
  for (const stage of stages) stage.isStale = true
})
fillLegend(byId("legend"), kind)
if (kind === "simulation") setText(byId("wanted-label"), "An ID; empty for any entry of the network")
byId("wanted").required = kind === "daemon"
for (const button of document.querySelectorAll("[data-view]:is(button)")) button.addEventListener("click", () => view(button.dataset.view))
if (map.clientWidth >= WIDE) view("both")
// An address with a token, entered where the page is open already, loads nothing by itself.
addEventListener("hashchange", () => {
  if (kind === "daemon" && takeFromAddress()) location.reload()
})
requestAnimationFrame(frame)
await begin()
