// Clocks without a clock of their own: whoever has one tells the time. All are seconds, or all milliseconds.

const EASE = 1 // seconds of ours in which the delay becomes that of another rate

// The time of a source, as it is told now and then, drawn smoothly and a short delay behind, so that what happened in
// order is shown in order and at its own pace. The delay is of our time: a source in slow motion is not far behind.
export class Follow {
  constructor(delay) {
    this.delay = delay
    this.rate = 1 // seconds of the source in a second of ours
    this._offset = null
    this._before = delay // how far the picture was behind when the rate changed, in seconds of the source
    this._since = -Infinity
  }

  // The source says that its time was `theirs` when ours was `ours`. What comes late was on its way for longer, so the
  // earliest counts; a source that falls behind its rate is followed gently, and one that jumps at once.
  told(theirs, ours) {
    if (!Number.isFinite(theirs)) return // what was missed has no time
    const offset = theirs - ours * this.rate
    const behind = this._offset === null ? Infinity : this._offset - offset
    if (behind < 0 || behind > 2 * Math.max(1, this.rate)) this._offset = offset
    else this._offset -= behind / 10
  }

  setRate(rate, ours) {
    if (rate === this.rate) return
    const now = this.now(ours)
    this._before = this._behind(ours)
    this._since = ours
    this.rate = rate
    if (now !== null) this._offset = now - ours * rate
  }

  now(ours) {
    return this._offset === null ? null : this._offset + ours * this.rate
  }

  shown(ours) {
    const now = this.now(ours)
    return now === null ? null : now - this._behind(ours)
  }

  _behind(ours) {
    const left = Math.max(0, 1 - (ours - this._since) / EASE)
    return this.delay * this.rate * (1 - left) + this._before * left
  }
}

// The player of one recording: from 0 to `end`, at a pace, with pause, steps and seeking.
export class Playback {
  constructor(end, pace = 1) {
    this.end = end
    this.pace = pace
    this.isPlaying = false
    this.isStill = false // then playing passes no time by itself
    this._at = 0
    this._since = 0
  }

  at(now) {
    if (!this.isPlaying || this.isStill) return this._at
    return Math.min(this.end, this._at + (now - this._since) * this.pace)
  }

  play(now) {
    if (this.at(now) >= this.end) this._at = 0
    this._since = now
    this.isPlaying = true
  }

  pause(now) {
    this._at = this.at(now)
    this.isPlaying = false
  }

  seek(at, now) {
    this._at = Math.min(this.end, Math.max(0, at))
    this._since = now
  }

  setPace(pace, now) {
    this.seek(this.at(now), now)
    this.pace = pace
  }

  // Stop at its end; returns whether it has just come there.
  rest(now) {
    if (!this.isPlaying || this.at(now) < this.end) return false
    this.pause(now)
    return true
  }

  // Go to the moment before or after; `moments` are times in order.
  step(moments, direction, now) {
    const at = this.at(now)
    this.pause(now)
    const next = direction > 0 ? moments.find(each => each > at + 1e-9) : moments.findLast(each => each < at - 1e-9)
    this.seek(next ?? (direction > 0 ? this.end : 0), now)
  }
}

// The pace at which a recording takes a few seconds: a power of ten, and never more than 1.
export function restful(duration, wanted = 4_000) {
  let pace = 1
  while (duration / pace < wanted / 3 && pace > 1e-4) pace /= 10
  return pace
}
