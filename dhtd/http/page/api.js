// Requests to the server of this page. An error is a `Problem` with a sentence for people.

export class Problem extends Error {
  constructor(message, status, code) {
    super(message)
    this.status = status // 0 where nothing answered
    this.code = code
  }
}

export class Api {
  constructor(token = null) {
    this.token = token
  }

  async ask(path, { method = "GET", body = undefined, signal = undefined } = {}) {
    const headers = {}
    if (this.token) headers.Authorization = `Bearer ${this.token}`
    if (body !== undefined) headers["Content-Type"] = "application/json"
    let answer
    try {
      answer = await fetch(path, { method, headers, signal, body: body === undefined ? undefined : JSON.stringify(body) })
    } catch (error) {
      if (error.name === "AbortError") throw error
      throw new Problem("nothing answers at this address", 0, "unreachable")
    }
    const text = await answer.text()
    let told = null
    try {
      told = text ? JSON.parse(text) : null
    } catch {
      throw new Problem(`the answer to ${path} is no JSON`, answer.status, "malformed")
    }
    if (!answer.ok) throw new Problem(told?.detail ?? `${answer.status} ${answer.statusText}`, answer.status, told?.code)
    return told
  }
}

// A stream of events that comes back by itself, and goes on behind the last one that it was told.
export class Feed {
  constructor(path, token, { events, connected }) {
    this._path = path
    this._token = token
    this._events = events
    this._connected = connected
    this._last = null
    this._wait = 500
    this._timer = 0
    this._source = null
    this._open()
  }

  _open() {
    const query = new URLSearchParams()
    if (this._token) query.set("access_token", this._token)
    if (this._last !== null) query.set("after", this._last)
    const source = (this._source = new EventSource(`${this._path}?${query}`))
    source.onopen = () => {
      this._wait = 500
      this._connected(true)
    }
    source.addEventListener("event", event => {
      const told = JSON.parse(event.data)
      this._last = told.last
      this._events(told.events)
    })
    source.onerror = () => {
      this._connected(false)
      source.close()
      clearTimeout(this._timer)
      this._timer = setTimeout(() => this._open(), this._wait)
      this._wait = Math.min(5_000, 2 * this._wait)
    }
  }

  close() {
    clearTimeout(this._timer)
    this._source.close()
  }
}
