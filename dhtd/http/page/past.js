// A moment of the past that goes on at a rate: which time is shown, and what happens to nodes from there. Times are
// seconds; `now` is of the page's clock. Without requests: others fetch what was told.

export class Past {
  constructor(at, now, rate = 1) {
    this.rate = rate
    this.until = at // up to here it is known what happened
    this.isReading = false
    this._begun = at
    this._at = at
    this._since = now
    this._serial = 0 // of the latest event that was taken
    this._later = [] // nodes that come or go at a time that is not shown yet
  }

  shown(now) {
    return Math.min(this.until, this._at + (now - this._since) * this.rate)
  }

  setRate(rate, now) {
    this._rest(now)
    this.rate = rate
  }

  // Take the events up to a time; returns those of lookups, which are shown by their own times. A span has both its ends,
  // so the next one begins with events that were there already.
  take(events, until, now) {
    this._rest(now)
    const fresh = events.filter(event => event.serial > this._serial)
    if (fresh.length) this._serial = fresh[fresh.length - 1].serial
    for (const event of fresh) if (event.kind.startsWith("node") && event.at > this._begun) this._later.push(event)
    this.until = Math.max(this.until, until)
    return fresh.filter(event => event.kind.startsWith("lookup"))
  }

  // The events of nodes whose time has come, each once.
  due(now) {
    const shown = this.shown(now)
    const later = this._later.findIndex(event => event.at > shown)
    return this._later.splice(0, later < 0 ? this._later.length : later)
  }

  _rest(now) {
    this._at = this.shown(now)
    this._since = now
  }
}
