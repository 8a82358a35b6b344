// Clocks: the one that follows a source, and the player of a recording.

import assert from "node:assert/strict"
import { test } from "node:test"

import { Follow, Playback, restful } from "../../../dhtd/http/page/clock.js"

test("what is shown is a fixed delay behind", () => {
  const follow = new Follow(0.5)
  assert.equal(follow.shown(0), null)
  follow.told(100, 10)
  assert.equal(follow.shown(10), 99.5)
  assert.equal(follow.shown(12), 101.5)
})

test("a message that was late on its way moves little", () => {
  const follow = new Follow(0)
  follow.told(100, 10)
  follow.told(101, 11.5)
  assert.ok(Math.abs(follow.now(12) - 101.95) < 1e-9)
  follow.told(103, 12.5)
  assert.equal(follow.now(12.5), 103)
})

test("a source that jumps back is followed at once", () => {
  const follow = new Follow(0)
  follow.told(100, 10)
  follow.told(50, 11)
  assert.equal(follow.now(11), 50)
})

test("another rate goes on from the same moment", () => {
  const follow = new Follow(0)
  follow.told(100, 10)
  follow.setRate(10, 12)
  assert.equal(follow.now(12), 102)
  assert.equal(follow.now(13), 112)
  follow.setRate(0, 13)
  assert.equal(follow.now(99), 112)
})

test("what has no time moves no clock", () => {
  const follow = new Follow(0)
  follow.told(100, 10)
  for (const time of [undefined, null, NaN, "max"]) follow.told(time, 11)
  assert.equal(follow.now(11), 101)
})

test("in slow motion little is behind, and where time stands nothing is", () => {
  const follow = new Follow(0.5)
  follow.told(100, 10)
  follow.setRate(0.01, 10)
  assert.equal(follow.shown(10), 99.5)
  assert.ok(Math.abs(follow.now(20) - follow.shown(20) - 0.005) < 1e-9)
  follow.setRate(0, 20)
  assert.equal(follow.shown(30), follow.now(30))
})

test("what is shown goes on without a jump when the rate changes", () => {
  const follow = new Follow(0.4)
  follow.told(100, 0)
  let before = follow.shown(0)
  for (const [rate, at] of [[100, 0], [0.01, 3], [1, 3.2], [0, 7], [10, 8]]) {
    follow.setRate(rate, at)
    assert.ok(Math.abs(follow.shown(at) - before) < 1e-9)
    for (let ours = at; ours < at + 0.2; ours += 0.01) {
      assert.ok(follow.shown(ours) >= before - 1e-9)
      before = follow.shown(ours)
    }
    const next = { 0: 3, 3: 3.2, 3.2: 7, 7: 8, 8: 9 }[at]
    before = follow.shown(next)
  }
})

test("a recording plays at its pace and rests at its end", () => {
  const player = new Playback(1_000, 0.1)
  player.play(0)
  assert.equal(player.at(5_000), 500)
  assert.equal(player.rest(5_000), false)
  assert.equal(player.at(20_000), 1_000)
  assert.equal(player.rest(20_000), true)
  assert.equal(player.isPlaying, false)
})

test("it plays again from the start", () => {
  const player = new Playback(100)
  player.seek(100, 0)
  player.play(0)
  assert.equal(player.at(30), 30)
})

test("a pause keeps the moment", () => {
  const player = new Playback(100)
  player.play(0)
  player.pause(40)
  assert.equal(player.at(99), 40)
  player.play(100)
  assert.equal(player.at(110), 50)
})

test("another pace goes on from the same moment", () => {
  const player = new Playback(100)
  player.play(0)
  player.setPace(0.1, 50)
  assert.equal(player.at(60), 51)
})

test("steps go from moment to moment and stop the player", () => {
  const player = new Playback(100)
  const moments = [0, 10, 10, 40]
  player.play(0)
  player.step(moments, 1, 5)
  assert.equal(player.at(99), 10)
  player.step(moments, 1, 99)
  assert.equal(player.at(99), 40)
  player.step(moments, 1, 99)
  assert.equal(player.at(99), 100)
  player.step(moments, -1, 99)
  assert.equal(player.at(99), 40)
  player.step([], -1, 99)
  assert.equal(player.at(99), 0)
})

test("seeking stays within the recording", () => {
  const player = new Playback(100)
  player.seek(-5, 0)
  assert.equal(player.at(0), 0)
  player.seek(500, 0)
  assert.equal(player.at(0), 100)
})

test("where nothing may move, no time passes by itself", () => {
  const player = new Playback(100)
  player.isStill = true
  player.play(0)
  assert.equal(player.at(50), 0)
})

test("a pace makes a recording take some seconds", () => {
  assert.equal(restful(5_000), 1)
  assert.ok(Math.abs(restful(300) - 0.1) < 1e-9)
  assert.ok(Math.abs(restful(7) - 0.001) < 1e-9)
  assert.ok(restful(0.001) >= 1e-5)
})
