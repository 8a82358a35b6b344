// The keyspace, against whole numbers of any size.

import assert from "node:assert/strict"
import { test } from "node:test"

import { binary, bitAt, bitsOf, clockwise, nearness, placeOf, sharedBits, short } from "../../../dhtd/http/page/ids.js"
import { ids } from "./made.mjs"

const BITS = 256

function length(number) {
  return number === 0n ? 0 : number.toString(2).length
}

test("shared bits are those of the exclusive or", () => {
  const some = ids(40, 7)
  for (const a of some) {
    for (const b of some) {
      assert.equal(sharedBits(a, b), BITS - length(BigInt(`0x${a}`) ^ BigInt(`0x${b}`)))
    }
  }
})

test("neighbours share all bits but the last ones", () => {
  assert.equal(sharedBits("ab".repeat(20), "ab".repeat(20)), 160)
  assert.equal(sharedBits("00".repeat(32), `${"00".repeat(31)}01`), 255)
  assert.equal(sharedBits("ff".repeat(32), "7f".repeat(32)), 0)
})

test("a place is the fraction of the keyspace", () => {
  assert.equal(placeOf("0".repeat(64)), 0)
  assert.equal(placeOf(`8${"0".repeat(63)}`), 0.5)
  assert.equal(placeOf(`c${"0".repeat(39)}`), 0.75)
  assert.ok(placeOf("f".repeat(64)) < 1)
  assert.equal(placeOf("c0"), 0.75)
})

test("places are in the order of the ids", () => {
  const places = ids(200, 3).sort().map(placeOf)
  assert.deepEqual(places, places.toSorted((a, b) => a - b))
})

test("bits are read from the first one", () => {
  assert.equal(binary("a5", 8), "10100101")
  assert.equal(binary("a5", 99), "10100101")
  assert.equal(bitAt("80", 0), 1)
  assert.equal(bitAt("01", 7), 1)
  assert.equal(bitsOf("ab".repeat(20)), 160)
})

test("clockwise goes on behind the top", () => {
  assert.equal(clockwise(0.25, 0.75), 0.5)
  assert.equal(clockwise(0.75, 0.25), 0.5)
  assert.equal(clockwise(0.5, 0.5), 0)
})

test("nearness in a ring counts halvings of the way clockwise", () => {
  const target = `8${"0".repeat(63)}`
  assert.equal(nearness(target, `4${"0".repeat(63)}`, true), 2)
  assert.equal(nearness(target, `7${"0".repeat(63)}`, true), 4)
  assert.ok(nearness(target, `9${"0".repeat(63)}`, true) < 0.2)
  assert.equal(nearness(target, `9${"0".repeat(63)}`, false), 3)
})

test("a long id is cut", () => {
  assert.equal(short("ab".repeat(32)), "abababab…")
  assert.equal(short("ab"), "ab")
})
