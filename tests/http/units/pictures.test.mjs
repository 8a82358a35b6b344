// Ring and tree: where nodes are, how curves bend, and which node is under the pointer.

import assert from "node:assert/strict"
import { test } from "node:test"

import { sharedBits } from "../../../dhtd/http/page/ids.js"
import { Ring } from "../../../dhtd/http/page/ring.js"
import { forksOf, Tree } from "../../../dhtd/http/page/tree.js"
import { network } from "./made.mjs"

const WIDTH = 800
const HEIGHT = 600

function near(a, b, within = 0.01) {
  assert.ok(Math.abs(a - b) <= within, `${a} is not ${b}`)
}

test("a node of a ring is at the angle of its id", () => {
  const net = network(20)
  const ring = new Ring()
  ring.layOut(net, WIDTH, HEIGHT)
  for (const node of net.all()) {
    const angle = Math.atan2(ring.y[node.slot] - ring.cy, ring.x[node.slot] - ring.cx)
    near(Math.cos(angle), Math.cos(2 * Math.PI * node.place - Math.PI / 2))
    near(Math.hypot(ring.y[node.slot] - ring.cy, ring.x[node.slot] - ring.cx), ring.radius)
  }
})

test("the own node is at the top", () => {
  const net = network(20)
  net.put("own", { id: `9${"1".repeat(63)}`, endpoint: "here", standing: "own" })
  const ring = new Ring()
  ring.layOut(net, WIDTH, HEIGHT)
  near(ring.x[net.own.slot], ring.cx)
  near(ring.y[net.own.slot], ring.cy - ring.radius)
})

test("thousands of nodes lie in a band", () => {
  const net = network(2_000)
  const ring = new Ring()
  ring.layOut(net, WIDTH, HEIGHT)
  const radii = [...net.all()].map(node => Math.hypot(ring.y[node.slot] - ring.cy, ring.x[node.slot] - ring.cx))
  assert.ok(Math.max(...radii) <= ring.radius + 0.01)
  assert.ok(Math.min(...radii) >= ring.radius - ring.band - 0.01)
  assert.ok(Math.max(...radii) - Math.min(...radii) > ring.band / 2)
})

test("the farther two nodes are, the nearer their curve comes to the middle", () => {
  const ring = new Ring()
  ring.layOut(network(2), WIDTH, HEIGHT)
  const depth = apart => {
    const out = [0, 0]
    const [x0, y0] = [ring.cx + ring.radius, ring.cy]
    ring.bend(x0, y0, ring.cx + ring.radius * Math.cos(apart), ring.cy + ring.radius * Math.sin(apart), out)
    return Math.hypot(out[0] - ring.cx, out[1] - ring.cy)
  }
  assert.ok(depth(0.1) > depth(1))
  assert.ok(depth(1) > depth(3))
})

test("every node is under the pointer at its own place", () => {
  for (const layout of [new Ring(), new Tree()]) {
    const net = network(60)
    layout.layOut(net, WIDTH, HEIGHT)
    for (const node of net.all()) {
      assert.equal(layout.nearest(layout.x[node.slot], layout.y[node.slot], net), node)
    }
    assert.equal(layout.nearest(-500, -500, net), null)
  }
})

test("a node that is gone is under no pointer", () => {
  const net = network(5)
  const ring = new Ring()
  ring.layOut(net, WIDTH, HEIGHT)
  const node = net.get(3)
  const [x, y] = [ring.x[node.slot], ring.y[node.slot]]
  net.drop(3)
  assert.notEqual(ring.nearest(x, y, net), node)
})

test("a tree of n nodes has n - 1 forks at the depths where ids part", () => {
  for (const many of [1, 2, 3, 8, 100, 1_000]) {
    const order = network(many).sorted()
    const forks = forksOf(order)
    assert.equal(forks.length, many - 1)
    for (const fork of forks) {
      assert.equal(fork.depth, sharedBits(order[fork.from].id, order[fork.to].id))
      for (const child of [fork.left, fork.right]) {
        if (child < 0) assert.ok(forks[-1 - child].depth > fork.depth)
      }
    }
    if (many > 1) assert.deepEqual([forks.at(-1).from, forks.at(-1).to], [0, many - 1])
  }
})

test("each leaf and each fork but the root has one parent", () => {
  const forks = forksOf(network(300).sorted())
  const children = forks.flatMap(fork => [fork.left, fork.right]).sort((a, b) => a - b)
  assert.deepEqual(children, Array.from({ length: 599 }, (_, at) => at - 299).filter(child => child !== -299))
})

test("leaves are in the order of their ids", () => {
  for (const many of [8, 300, 3_000]) {
    const net = network(many)
    const tree = new Tree()
    tree.layOut(net, WIDTH, HEIGHT)
    const places = net.sorted().map(node => tree.x[node.slot])
    assert.deepEqual(places, places.toSorted((a, b) => a - b))
    assert.ok(places[0] >= tree.left && places.at(-1) <= tree.right)
  }
})

test("the summit of a curve is at the fork of its nodes", () => {
  const net = network(50)
  const tree = new Tree()
  tree.layOut(net, WIDTH, HEIGHT)
  const [a, b] = [net.get(1), net.get(2)]
  const out = [0, 0]
  tree.bend(tree.x[a.slot], tree.base, tree.x[b.slot], tree.base, out, a.id, b.id)
  near((tree.base + out[1]) / 2, tree.down(sharedBits(a.id, b.id)))
})

test("an id without a node lies between its neighbours", () => {
  const net = network(20)
  const tree = new Tree()
  tree.layOut(net, WIDTH, HEIGHT)
  const [first, second] = net.sorted()
  const middle = tree.across((first.place + second.place) / 2)
  assert.ok(tree.x[first.slot] < middle && middle < tree.x[second.slot])
})

test("an empty network has a picture", () => {
  for (const layout of [new Ring(), new Tree()]) {
    layout.layOut(network(0), WIDTH, HEIGHT)
    assert.ok(Number.isFinite(layout.at("ab".repeat(32))[0]))
  }
})
