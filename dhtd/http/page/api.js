// Requests to the server of this page. An error is a `Problem` with a sentence for people.

const SILENT_FOR = 45_000 // milliseconds without a byte, after which a stream is given up: servers send one in 15 s
const FIRST_WAIT = 500
const LONGEST_WAIT = 5_000

export class Problem extends Error {
  constructor(message, status, code) {
    super(message)
    this.status = status // 0 where nothing answered
    this.code = code
  }
}

// Whether a text can be sent as a token: browsers send no others in a header.
const isToken = text => /^[\x21-\x7e]+$/.test(text)

async function sent(path, token, { method = "GET", headers = {}, body = undefined, signal = undefined } = {}) {
  if (token && !isToken(token)) throw new Problem("this is not a token: it has letters that no token has", 401, "unauthorized")
  if (token) headers.Authorization = `Bearer ${token}`
  if (body !== undefined) headers["Content-Type"] = "application/json"
  return await reached(() => fetch(path, { method, headers, signal, body: body === undefined ? undefined : JSON.stringify(body) }))
}

// What comes over the network may end at any byte.
async function reached(work) {
  try {
    return await work()
  } catch (error) {
    if (!(error instanceof TypeError) && error.name !== "AbortError") throw error
    throw new Problem("nothing answers at this address", 0, "unreachable")
  }
}

function read(text, path, status) {
  try {
    return text ? JSON.parse(text) : null
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error
    throw new Problem(`the answer to ${path} is no JSON`, status, "malformed")
  }
}

async function told(answer, path) {
  const found = read(await reached(() => answer.text()), path, answer.status)
  if (answer.ok) return found
  const detail = typeof found?.detail === "string" && found.detail ? found.detail : `the server answers with ${answer.status}`
  throw new Problem(detail, answer.status, found?.code)
}

export class Api {
  constructor(token = null) {
    this.token = token
  }

  async ask(path, how = {}) {
    return await told(await sent(path, this.token, how), path)
  }
}

// A stream of events that comes back by itself, and goes on behind the last one that it was told. It is read by `fetch`:
// an EventSource would have the token in its address, which servers on the way write down. A tab that is hidden reads
// none, since a browser has few connections to a server for all of its tabs. Once it is seen again, events were missed.
export class Feed {
  constructor(path, token, { events, connected, refused }) {
    this._path = path
    this._token = token
    this._events = events
    this._connected = connected
    this._refused = refused // called with a sentence where the token is worth nothing; the stream is over then
    this._last = null
    this._wait = FIRST_WAIT
    this._timer = 0
    this._round = 0 // of the connection that counts; an older one may end later
    this._turn = () => (document.hidden ? this._rest() : this._resume())
    document.addEventListener("visibilitychange", this._turn)
    if (!document.hidden) this._open()
  }

  close() {
    document.removeEventListener("visibilitychange", this._turn)
    this._rest()
  }

  _rest() {
    this._round += 1
    clearTimeout(this._timer)
    this._abort?.abort()
  }

  _resume() {
    this._rest()
    this._last = null
    this._wait = FIRST_WAIT
    this._events([{ kind: "missed" }])
    this._open()
  }

  async _open() {
    const round = (this._round += 1)
    try {
      await this._follow(() => round === this._round)
    } catch (error) {
      if (!(error instanceof Problem)) throw error
      if (error.status === 401 && round === this._round) {
        this.close()
        this._refused(error.message)
      }
    } finally {
      if (round === this._round) this._again() // after a defect of the page as well
    }
  }

  _again() {
    this._connected(false)
    this._timer = setTimeout(() => this._open(), this._wait)
    this._wait = Math.min(LONGEST_WAIT, 2 * this._wait)
  }

  async _follow(counts) {
    const abort = (this._abort = new AbortController())
    const watch = () => setTimeout(() => abort.abort(), SILENT_FOR)
    let timer = watch()
    try {
      const path = this._last === null ? this._path : `${this._path}?after=${this._last}`
      const answer = await sent(path, this._token, { headers: { Accept: "text/event-stream" }, signal: abort.signal })
      if (!answer.ok) await told(answer, this._path)
      if (!counts()) return
      this._wait = FIRST_WAIT
      this._connected(true)
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader()
      let rest = ""
      for (;;) {
        const { value, done } = await reached(() => reader.read())
        clearTimeout(timer)
        if (done || !counts()) return
        timer = watch()
        const blocks = (rest + value).split("\n\n")
        rest = blocks.pop()
        for (const block of blocks) this._take(block)
      }
    } finally {
      clearTimeout(timer)
      abort.abort()
    }
  }

  // One event as it was sent (HTML Living Standard, section 9.2.5). A line with a colon first is a comment.
  _take(block) {
    const fields = { event: "message", data: "" }
    for (const line of block.split("\n")) {
      const colon = line.indexOf(":")
      if (colon > 0) fields[line.slice(0, colon)] = line.slice(colon + 1).trimStart()
    }
    if (!fields.data) return
    const found = read(fields.data, this._path, 200)
    if (fields.event === "error") throw new Problem(found.detail, found.status, found.code)
    if (fields.event !== "event") return
    this._last = found.last
    this._events(found.events)
  }
}
