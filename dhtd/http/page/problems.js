// What does not go as it should, in one line of the page. Each kind has its sentence until somebody takes it back, so
// that none hides another: a run that failed stays told when a request goes well.

import { setText } from "./words.js"

const KINDS = ["defect", "run", "connection", "reading", "request"] // the gravest first

export class Problems {
  constructor(host) {
    this._host = host
    this._told = new Map()
  }

  // `text` is a sentence, or null where all is well again.
  tell(kind, text) {
    this._told.set(kind, text ? `${text[0].toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? "" : "."}` : "")
    const all = KINDS.map(each => this._told.get(each)).filter(Boolean).join(" ")
    this._host.hidden = !all
    setText(this._host, all)
  }
}
