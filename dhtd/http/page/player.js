// The replay of one lookup: play, pause, step, scrub, and what happens at each moment in words.

import { paintClosing, paintWaterfall } from "./charts.js"
import { Playback, restful } from "./clock.js"
import { latestMoment } from "./focus.js"
import { short } from "./ids.js"
import { Lookup } from "./lookup.js"
import { still } from "./theme.js"
import { byId, count, make, milliseconds, setText } from "./words.js"

const STILL_STEP = 700 // milliseconds between two states where nothing may move

export class Player {
  constructor(network, onChoice) {
    this._network = network
    this._onChoice = onChoice
    this.lookup = null
    this.playback = null
    this._moments = 0
    this._nextStill = 0
    byId("play").addEventListener("click", () => this.toggle())
    byId("step-back").addEventListener("click", () => this.step(-1))
    byId("step-on").addEventListener("click", () => this.step(1))
    byId("player-close").addEventListener("click", () => this.choose(null))
    byId("pace").addEventListener("change", event => this.playback?.setPace(Number(event.target.value), performance.now()))
    byId("scrub").addEventListener("input", event => {
      const now = performance.now()
      this._isFollowed = false
      this.playback.pause(now)
      this.playback.seek((this.playback.end * event.target.value) / 1000, now)
    })
  }

  choose(lookup) {
    this.lookup = lookup
    if (lookup === null && document.activeElement === byId("player-close")) byId("map").focus()
    byId("player-body").hidden = byId("player-close").hidden = lookup === null
    if (lookup === null) {
      this.playback = null
      setText(byId("player-what"), "All lookups are drawn as they happen. Choose one to replay it.")
    } else {
      this.playback = new Playback(lookup.duration)
      this._moments = -1
      this._isFollowed = true
    }
    this._onChoice(lookup)
  }

  // A lookup that is under way is followed. Its replay begins when it is over, at a pace that takes a few seconds.
  _follow(now) {
    const { lookup, playback } = this
    if (!lookup.isOver) {
      playback.seek(lookup.duration, now)
      return
    }
    this._isFollowed = false
    const pace = restful(lookup.duration)
    byId("pace").value = String(pace)
    playback.seek(0, now)
    playback.setPace(pace, now)
    if (!still.matches) playback.play(now)
  }

  toggle() {
    if (!this.playback) return
    this._isFollowed = false
    if (this.playback.isPlaying) this.playback.pause(performance.now())
    else this.playback.play(performance.now())
    this._showPlay()
  }

  _showPlay() {
    const { isPlaying } = this.playback
    setText(byId("play"), isPlaying ? "❚❚" : "▶")
    byId("play").setAttribute("aria-label", isPlaying ? "Pause" : "Play")
    // One who listens hears the steps that he goes by himself: a replay has more in a second than can be said.
    byId("moment").setAttribute("aria-live", isPlaying || this._isFollowed ? "off" : "polite")
  }

  step(direction) {
    this._isFollowed = false
    this.playback?.step(this.lookup.moments.map(moment => moment.at), direction, performance.now())
  }

  // The moment that is shown, in milliseconds of the lookup.
  at(now) {
    return this.playback.at(now)
  }

  frame(now) {
    const { lookup, playback } = this
    if (!lookup) return
    playback.end = lookup.duration
    playback.isStill = still.matches
    if (lookup.moments.length + (lookup.isOver ? 1 : 0) !== this._moments) this._describe()
    if (this._isFollowed) this._follow(now)
    if (still.matches && playback.isPlaying) this._jump(now)
    playback.rest(now)
    const at = playback.at(now)
    byId("scrub").value = String(Math.round((1000 * at) / playback.end))
    byId("scrub").setAttribute("aria-valuetext", milliseconds(at))
    setText(byId("scrub-at"), `${milliseconds(at)} of ${milliseconds(playback.end)}`)
    this._showPlay()
    paintWaterfall(byId("waterfall"), lookup, at)
    paintClosing(byId("closing"), lookup, at, this._network)
    this._tell(at)
  }

  // Where nothing may move, playing goes from state to state.
  _jump(now) {
    if (now < this._nextStill) return
    this._nextStill = now + STILL_STEP
    this.playback.step(this.lookup.moments.map(moment => moment.at), 1, now)
    if (this.playback.at(now) < this.playback.end) this.playback.play(now)
  }

  _tell(at) {
    const moment = latestMoment(this.lookup, at)
    setText(byId("moment"), moment ? `${milliseconds(moment.at)}: ${sentence(moment)}` : "The search begins.")
    const { isRing } = this._network
    setText(byId("closing-caption"), `Closing in: ${isRing ? "halvings of the way to" : "bits in common with"} the target`)
    const states = this.lookup.queries.map(query => Lookup.stateAt(query, at))
    const many = state => states.filter(each => each === state).length
    const facts = [
      ["hops", String(this.lookup.hopsAt(at))],
      ["asked", String(states.filter(state => state !== null).length)],
      ["answered", String(many("answered"))],
      ["slow or silent", String(many("slow") + many("silent") + many("refused"))],
      [isRing ? "halvings of the way" : "bits in common", String(Math.floor(this.lookup.nearestAt(at, isRing)))],
    ]
    const host = byId("lookup-facts")
    if (host.children.length !== facts.length + 1) {
      host.replaceChildren(...facts.map(([name]) => make("div", {}, make("dt", {}, name), make("dd", {}))))
      host.append(make("div", {}, make("dt", {}, "endpoints found"), make("dd", { class: "mono" })))
    }
    facts.forEach(([, value], row) => setText(host.children[row].lastChild, value))
    setText(host.lastChild.lastChild, this.lookup.peers.join(", ") || "none")
  }

  _describe() {
    const { lookup } = this
    this._moments = lookup.moments.length + (lookup.isOver ? 1 : 0)
    const what = lookup.name ?? short(lookup.target)
    setText(byId("player-what"), `${what}, ${purposes[lookup.purpose] ?? lookup.purpose}, ${count(lookup.queries.length, "query")}`)
    byId("steps").replaceChildren(...lookup.moments.map(moment =>
      make("li", {}, make("span", { class: "at mono" }, `${milliseconds(moment.at)} `), sentence(moment))))
  }
}

export const purposes = {
  lookup: "a lookup", get: "a value", put: "to place a value", publish: "to publish an entry", withdraw: "to withdraw an entry",
  watch: "to place a watch", join: "to join the network", refresh: "to refresh the table",
}

function sentence({ step, query }) {
  const node = `${query.endpoint} (query ${query.number})`
  switch (step) {
    case "asked":
      return `asks ${node}, ${count(query.bits, "bit")} in common, ${
        query.namedBy.length ? `named by ${query.namedBy.slice(0, 3).join(", ")}` : "a contact of its own"}`
    case "answered":
      return `${node} answers${query.rtt === null ? "" : ` after ${milliseconds(query.rtt)}`}, names ${count(query.nodes.length, "node")}${
        query.peers.length ? ` and ${count(query.peers.length, "endpoint")}` : ""}${
        query.gained > 0 ? `: ${count(query.gained, "bit")} nearer` : ""}`
    case "slow":
      return `${node} is slow: the search goes on without it`
    case "silent":
      return `${node} is silent`
    default:
      return `${node} refuses, with code ${query.code}`
  }
}
