// IDs and networks for tests, the same in each run.

import { Network } from "../../../dhtd/http/page/network.js"

export function ids(many, seed) {
  let state = seed >>> 0
  const digit = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return (state >>> 28).toString(16)
  }
  return Array.from({ length: many }, () => Array.from({ length: 64 }, digit).join(""))
}

export function network(many, seed = 1) {
  const made = new Network()
  ids(many, seed).forEach((id, number) => {
    made.put(number, { id, endpoint: `10.0.${number >> 8}.${number & 255}:1729`, standing: "live" })
  })
  return made
}
