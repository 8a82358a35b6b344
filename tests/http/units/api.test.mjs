// Requests and streams, as a server or a network ends them at any byte.

import assert from "node:assert/strict"
import { test } from "node:test"

import { Api, Feed, Problem } from "../../../dhtd/http/page/api.js"

const page = new EventTarget()
globalThis.document = page
page.hidden = false

const encoder = new TextEncoder()

// Answers by turns: each is a function of the address and the options, or an error.
function answering(...answers) {
  const asked = []
  globalThis.fetch = async (path, options) => {
    asked.push([path, options.headers.Authorization ?? null])
    const answer = answers.shift()
    if (answer === undefined) return new Promise(() => {})
    if (answer instanceof Error) throw answer
    return answer
  }
  return asked
}

const json = (body, status = 200) => new Response(typeof body === "string" ? body : JSON.stringify(body), { status })

// A body of these pieces; then it breaks, or ends.
function body(pieces, error = null) {
  return new Response(new ReadableStream({
    pull(to) {
      if (pieces.length) to.enqueue(encoder.encode(pieces.shift()))
      else if (error) to.error(error)
      else to.close()
    },
  }), { status: 200 })
}

const event = (last, ...events) => `event: event\nid: ${last}\ndata: ${JSON.stringify({ last, events })}\n\n`

async function refused(work) {
  const error = await work.then(() => null, each => each)
  assert.ok(error instanceof Problem, String(error))
  return [error.message, error.status]
}

// Follow a stream until it was lost so many times; returns what was told.
async function followed(times, answers, token = null) {
  const asked = answering(...answers)
  const told = []
  const timers = []
  const { setTimeout, clearTimeout } = globalThis
  globalThis.setTimeout = (work, after) => timers.push([work, after])
  globalThis.clearTimeout = () => {}
  try {
    await new Promise(resolve => {
      let lost = 0
      const feed = new Feed("v1/events", token, {
        events: events => told.push(...events),
        connected: is => {
          told.push(is)
          if (is) return
          lost += 1
          queueMicrotask(() => {
            const [work, after] = timers.pop()
            told.push(after)
            if (lost < times) work()
            else {
              feed.close()
              resolve()
            }
          })
        },
        refused: text => {
          told.push(text)
          resolve()
        },
      })
    })
  } finally {
    Object.assign(globalThis, { setTimeout, clearTimeout })
  }
  return { asked, told }
}

test("an answer that breaks off is a problem with a sentence", async () => {
  answering(body(['{"half":'], new TypeError("network error")))
  assert.deepEqual(await refused(new Api().ask("v1/info")), ["nothing answers at this address", 0])
  answering(new TypeError("failed to fetch"))
  assert.deepEqual(await refused(new Api().ask("v1/info")), ["nothing answers at this address", 0])
})

test("odd answers are problems with a sentence", async () => {
  for (const [answer, message, status] of [
    [json("<html>"), "the answer to v1/info is no JSON", 200],
    [json({ detail: "no such node" }, 404), "no such node", 404],
    [json({ detail: { a: 1 } }, 400), "the server answers with 400", 400],
    [json({ detail: "" }, 400), "the server answers with 400", 400],
    [json("null", 500), "the server answers with 500", 500],
    [json("", 502), "the server answers with 502", 502],
  ]) {
    answering(answer)
    assert.deepEqual(await refused(new Api().ask("v1/info")), [message, status])
  }
})

test("a token that no header can have is refused as a wrong one is", async () => {
  const asked = answering()
  for (const token of ["ключ", "a b", "a\nb"]) assert.equal((await refused(new Api(token).ask("v1/info")))[1], 401)
  assert.deepEqual(asked, [])
})

test("the token of a stream is in no address", async () => {
  const { asked } = await followed(2, [body([event(1)]), body([])], "secret")
  assert.deepEqual(asked, [["v1/events", "Bearer secret"], ["v1/events?after=1", "Bearer secret"]])
})

test("events come in order, wherever the bytes are parted", async () => {
  const whole = `:\n\n${event(1, "ä", "b")}:\n\n${event(3, "c")}`
  for (const size of [1, 2, 3, 7, 1_000]) {
    const bytes = encoder.encode(whole)
    const pieces = []
    for (let at = 0; at < bytes.length; at += size) pieces.push(bytes.slice(at, at + size))
    const stream = new Response(new ReadableStream({
      start(to) {
        for (const piece of pieces) to.enqueue(piece)
        to.close()
      },
    }))
    const { told } = await followed(1, [stream])
    assert.deepEqual(told, [true, "ä", "b", "c", false, 500])
  }
})

test("a stream that breaks goes on behind its last event, later each time", async () => {
  const answers = [
    body([event(5, "a"), "event: event\nda"], new TypeError("network error")), new TypeError("refused"), json({ detail: "too many" }, 503), body([event(6, "b")]),
  ]
  const { asked, told } = await followed(4, answers)
  assert.deepEqual(asked.map(([path]) => path), ["v1/events", "v1/events?after=5", "v1/events?after=5", "v1/events?after=5"])
  assert.deepEqual(told, [true, "a", false, 500, false, 1_000, false, 2_000, true, "b", false, 500])
})

test("a tab that is hidden has no stream, and has missed what was told meanwhile", async () => {
  const signals = []
  const asked = answering()
  const { fetch } = globalThis
  globalThis.fetch = (path, options) => {
    signals.push(options.signal)
    const answer = fetch(path, options)
    return signals.length === 1 ? new Response(new ReadableStream({ start: to => to.enqueue(encoder.encode(event(4, "a"))) })) : answer
  }
  const told = []
  const feed = new Feed("v1/events", null, { events: events => told.push(...events), connected: is => told.push(is), refused: () => {} })
  const shown = is => {
    page.hidden = !is
    page.dispatchEvent(new Event("visibilitychange"))
  }
  while (!told.includes("a")) await new Promise(resolve => { setImmediate(resolve) })
  shown(false)
  await new Promise(resolve => { setImmediate(resolve) })
  assert.deepEqual([told, signals[0].aborted, asked.length], [[true, "a"], true, 1])
  shown(true)
  await new Promise(resolve => { setImmediate(resolve) })
  assert.deepEqual(told, [true, "a", { kind: "missed" }])
  assert.deepEqual(asked.map(([path]) => path), ["v1/events", "v1/events"])
  shown(false)
  shown(true)
  await new Promise(resolve => { setImmediate(resolve) })
  assert.deepEqual(signals.map(signal => signal.aborted), [true, true, false])
  feed.close()
  shown(true)
  assert.deepEqual([signals.length, signals[2].aborted], [3, true])
})

test("a stream without welcome asks for another token", async () => {
  const late = body([event(1, "a"), `event: error\ndata: {"status":401,"detail":"no longer the token"}\n\n`])
  for (const [answer, before] of [[json({ detail: "not the token" }, 401), []], [late, [true, "a"]]]) {
    const { told } = await followed(1, [answer], "old")
    assert.deepEqual(told, [...before, before.length ? "no longer the token" : "not the token"])
  }
})
