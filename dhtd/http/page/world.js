// The controls of a simulated network: its virtual time, its speed, and what can be done to its nodes.

import { count, disable, make, number, setText, span } from "./words.js"

const SPEEDS = [["0", "paused"], ["0.01", "1/100"], ["0.1", "1/10"], ["1", "as in life"], ["10", "10 ×"], ["100", "100 ×"], ["max", "as fast as it goes"]]

export class World {
  constructor(host, source) {
    this._source = source
    this._isDragged = false
    this._keptUpAt = 0
    host.hidden = false
    this._at = make("span", { class: "mono" })
    this._slider = make("input", { type: "range", min: 0, max: 1000, value: 1000, step: "any", "aria-label": "Virtual time" })
    this._now = make("button", { type: "button" }, "Now")
    this._speed = make("select", {}, ...SPEEDS.map(([value, text]) => make("option", { value }, text)))
    this._share = make("input", { type: "number", min: 1, max: 100, value: 30 })
    this._many = make("input", { type: "number", min: 1, max: 1000, value: 10 })
    const title = make("h2", { id: "world-title" }, "Virtual time")
    this._what = make("p", { class: "quiet" })
    host.replaceChildren(
      make("div", { class: "bar" }, title, this._what),
      make("div", { class: "slider" }, this._slider, this._at, this._now),
      make("div", { class: "tools" },
        make("label", {}, "Speed ", this._speed),
        make("label", {}, "Kill ", this._share, " % "), this._button("Kill", () => source.killShare(this._share.valueAsNumber / 100)),
        make("label", {}, "Add ", this._many, " nodes "), this._button("Add", () => source.add(this._many.valueAsNumber)),
      ),
    )
    this._speedTold = null
    this._speed.addEventListener("change", () => this._setSpeed())
    this._slider.addEventListener("input", () => { this._isDragged = true })
    // A slider that is let go of where it was has no change.
    for (const end of ["pointerup", "pointercancel", "keyup", "blur"]) {
      this._slider.addEventListener(end, () => { this._isDragged = false })
    }
    this._slider.addEventListener("change", () => {
      this._isDragged = false
      source.goTo(this._slider.valueAsNumber)
    })
    this._now.addEventListener("click", () => source.live())
  }

  _button(text, run) {
    return make("button", { type: "button", onclick: run }, text)
  }

  async _setSpeed() {
    const { value } = this._speed
    if (this._source.past) this._source.setPastRate(Number(value))
    else {
      await this._source.setSpeed(value === "max" ? "max" : Number(value))
      this._speedTold = null // it may be refused
    }
  }

  // The speed that is in force, which another tab may have set, or a request by hand.
  _showSpeed(speed, isPast) {
    const value = String(speed)
    const fastest = this._speed.querySelector("[value=max]")
    if (value === this._speedTold && fastest.disabled === isPast) return
    this._speedTold = value
    fastest.disabled = isPast // the past is as it was
    let option = [...this._speed.options].find(each => each.value === value)
    if (!option) this._speed.append((option = make("option", { value }, `${number(speed)} ×`)))
    option.selected = true
  }

  frame(now) {
    const { state, past } = this._source
    this._source.turn()
    if (now - this._keptUpAt > 250) {
      this._keptUpAt = now
      this._source.keepUp()
      this._tell(state, past)
    }
  }

  _tell(state, past) {
    const shown = past ? this._source.shown() : state.now
    if (!this._isDragged) {
      // The right end is a little ahead of now, so that one can drag beyond it.
      const from = Math.floor(state.kept_from)
      const to = Math.ceil(Math.max(state.now + 60, state.now + (state.now - from) * 0.1))
      this._slider.min = from
      this._slider.max = to
      this._slider.value = shown
    }
    const at = this._isDragged ? this._slider.valueAsNumber : shown
    setText(this._at, at > state.ends ? span(at) : `${span(at)} of ${span(state.ends)}`)
    disable(this._now, !past, this._slider)
    this._showSpeed(past ? past.rate : state.speed, past !== null)
    setText(this._what, past ? `A moment of the past. It is ${span(state.now)} by now` : present(state))
    this._slider.setAttribute("aria-valuetext", `${span(at)} after the start`)
  }
}

// How the run is: what is told of it is of the present.
function present(state) {
  const how = state.goal === null ? "" : `on the way to ${span(state.goal)}, `
  const pace = state.running ? `${how}${number(Number(state.reached.toPrecision(2)))} s in a real one` : "standing still"
  return `${count(state.live, "live node")}, ${state.phase}, ${pace}`
}
