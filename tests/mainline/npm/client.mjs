// A node of npm's bittorrent-dht or pkarr that does what the lines of its standard input say, and answers each by a line.
//
// usage: node client.mjs NODE_MODULES bittorrent-dht|pkarr ADDRESS PORT ROUTER
//
// Both are JSON. A line in is [METHOD, ARGUMENT...], a line out is what came of it. Bytes are in hex.

import { createInterface } from 'node:readline'
import { pathToFileURL } from 'node:url'

const [modules, kind, address, port, router] = process.argv.slice(2)
const load = path => import(pathToFileURL(`${modules}/${path}`))
const { default: sodium } = await load('sodium-universal/index.js')
const bootstrap = [router]
const hex = bytes => Buffer.from(bytes).toString('hex')
const bytes = text => Buffer.from(text, 'hex')

const verify = (signature, message, key) => sodium.crypto_sign_verify_detached(signature, message, key)

async function torrents () {
  const { default: DHT } = await load('bittorrent-dht/index.js')
  const dht = new DHT({ bootstrap, verify })
  const call = (method, ...rest) => new Promise((resolve, reject) => {
    dht[method](...rest, (error, ...found) => error ? reject(error) : resolve(found))
  })
  return {
    dht,
    ready: new Promise(resolve => dht.on('ready', resolve)),
    methods: {
      async peers (infoHash) {
        const found = new Set()
        const note = peer => found.add(`${peer.host}:${peer.port}`)
        dht.on('peer', note)
        await call('lookup', infoHash)
        dht.off('peer', note)
        return [...found].sort()
      },
      announce: async (infoHash, at) => { await call('announce', infoHash, at) },
      // `seq` and the seed of a key belong to a signed value.
      async put (value, seed, seq, salt) {
        if (seed === undefined) return hex((await call('put', { v: bytes(value) }))[0])
        const key = Buffer.alloc(sodium.crypto_sign_PUBLICKEYBYTES)
        const secret = Buffer.alloc(sodium.crypto_sign_SECRETKEYBYTES)
        sodium.crypto_sign_seed_keypair(key, secret, bytes(seed))
        const sign = message => {
          const signature = Buffer.alloc(sodium.crypto_sign_BYTES)
          sodium.crypto_sign_detached(signature, message, secret)
          return signature
        }
        const more = salt ? { salt: Buffer.from(salt) } : {}
        await call('put', { k: key, v: bytes(value), seq, sign, ...more })
        return hex(key)
      },
      async get (target, salt) {
        const [found] = await call('get', target, { cache: false, ...(salt ? { salt } : {}) })
        return found && { value: hex(found.v), seq: found.seq ?? null }
      }
    }
  }
}

async function pkarr () {
  const [{ default: DHT }, { SignedPacket, generateKeyPair, z32 }] =
    await Promise.all([load('pkarr/lib/dht.js'), load('pkarr/index.js')])
  // Its own `Pkarr.publish` takes the public routers, and this does the same with ours.
  const dht = new DHT({ bootstrap, storage: { loadRoutingTable () {}, saveRoutingTable () {} } })
  return {
    dht: dht._dht,
    ready: new Promise(resolve => dht._dht.on('ready', resolve)),
    methods: {
      async publish (seed, answers) {
        const pair = generateKeyPair(bytes(seed))
        const packet = { id: 0, type: 'response', flags: 0x8000, answers }
        const signed = SignedPacket.fromPacket(pair, packet)
        const { nodes } = await dht.put(signed.bep44Args())
        return { key: z32.encode(pair.publicKey), nodes: nodes.length }
      },
      async resolve (key) {
        const found = await dht.get(z32.decode(key), { fullLookup: true })
        if (!found) return null
        const { answers } = SignedPacket.fromBep44Args(found).packet()
        return answers.map(({ name, type, ttl, data }) => {
          return { name, type, ttl, data: Array.isArray(data) ? data.join('') : data } // the strings of a TXT
        })
      }
    }
  }
}

const { dht, ready, methods } = await (kind === 'pkarr' ? pkarr() : torrents())
dht.listen(Number(port), address)
await ready
const say = what => process.stdout.write(`${JSON.stringify(what)}\n`)
say({ nodes: dht.nodes.toArray().length })
for await (const line of createInterface({ input: process.stdin })) {
  const [method, ...rest] = JSON.parse(line)
  try {
    say({ result: (await methods[method](...rest)) ?? null })
  } catch (error) {
    say({ error: String(error.stack ?? error) })
  }
}
process.exit(0)
