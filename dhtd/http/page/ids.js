// The keyspace: IDs are hex digits, all of one width. A place is an ID as a fraction of the keyspace, from 0 to 1.
// Kademlia's distance is the exclusive or of two IDs, so two nodes are near if their IDs begin with the same bits.

const DIGITS = 13 // hex digits that a double holds exactly

export function bitsOf(id) {
  return 4 * id.length
}

export function placeOf(id) {
  const digits = id.slice(0, DIGITS)
  return parseInt(digits, 16) / 16 ** digits.length
}

// How many bits two IDs have in common from their start.
export function sharedBits(a, b) {
  const length = Math.min(a.length, b.length)
  for (let at = 0; at < length; at += 1) {
    const different = parseInt(a[at], 16) ^ parseInt(b[at], 16)
    if (different) return 4 * at + Math.clz32(different) - 28
  }
  return 4 * length
}

// The bit of an ID at a depth of the tree: 0 goes left, 1 goes right.
export function bitAt(id, depth) {
  return (parseInt(id[depth >> 2], 16) >> (3 - (depth & 3))) & 1
}

export function binary(id, bits) {
  let text = ""
  for (let depth = 0; depth < bits && depth < bitsOf(id); depth += 1) text += bitAt(id, depth)
  return text
}

// The way clockwise around the ring (Chord's distance), as a fraction of the ring.
export function clockwise(from, to) {
  const way = to - from
  return way < 0 ? way + 1 : way
}

// How near an ID is to a target, in halvings of the keyspace: bits in common, or for Chord those of the way clockwise.
export function nearness(target, id, isRing) {
  if (!isRing) return sharedBits(target, id)
  const way = clockwise(placeOf(id), placeOf(target))
  return way > 0 ? -Math.log2(way) : bitsOf(target)
}

export function short(id) {
  return id.length > 10 ? `${id.slice(0, 8)}…` : id
}
