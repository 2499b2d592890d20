// Another implementation's opinion on repositories: npm's @atproto/repo, as the sandbox's servers use it.
//
// Usage: node second_opinion.mjs <folder that holds node_modules>
// One request as JSON on stdin, the answer as JSON on stdout. second_opinion.py says what is in them.

import { readFile, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import path from 'node:path'
import { text } from 'node:stream/consumers'
import { pathToFileURL } from 'node:url'

const requirePackage = createRequire(path.join(process.argv[2], 'package.json'))
const load = (name) => import(pathToFileURL(requirePackage.resolve(name)))
const repo = await load('@atproto/repo')
const { P256Keypair, Secp256k1Keypair } = await load('@atproto/crypto')
const { cidForLex } = await load('@atproto/lex-cbor')
const { jsonToLex, lexToJson } = await load('@atproto/lex-json')

async function open(car) {
  const { root, blocks } = await repo.readCarWithRoot(await readFile(car))
  const storage = new repo.MemoryBlockstore(blocks)
  return { root, blocks, storage, readable: await repo.Repo.load(storage, root) }
}

// Signature, tree, and that each record is there; no record is looked into.
async function verify({ car, did, key }) {
  const { creates } = await repo.verifyRepoCar(await readFile(car), did, key)
  return { records: creates.length }
}

// Every check that there is: those above, and each record decoded.
async function accept({ car, did, key }) {
  await repo.verifyRepoCar(await readFile(car), did, key)
  const { readable } = await open(car)
  let records = 0
  for await (const _ of readable.walkRecords()) records += 1
  return { records }
}

async function read({ car }) {
  const { root, blocks, storage, readable } = await open(car)
  const { did, rev, version, data } = readable.commit
  const keys = []
  const records = {}
  const reencoded = {}
  let again = await repo.MST.create(storage)
  for await (const { collection, rkey, cid, record } of readable.walkRecords()) {
    const key = repo.formatDataKey(collection, rkey)
    keys.push([key, `${cid}`])
    records[key] = lexToJson(record)
    reencoded[key] = `${await cidForLex(record)}`
    again = await again.add(key, cid)
  }
  const written = await repo.readCar(await repo.concatBytesAsync(repo.getFullRepo(storage, root)))
  return {
    root: `${root}`,
    commit: { did, rev, version, data: `${data}` },
    keys,
    records,
    reencoded,
    rebuilt: `${await again.getPointer()}`,
    blocks: blocks.cids().map(String),
    written: written.blocks.cids().map(String),
  }
}

async function write({ car, did, curve, secret, commits }) {
  const Keypair = curve === 'p256' ? P256Keypair : Secp256k1Keypair
  const keypair = await Keypair.import(secret)
  const storage = new repo.MemoryBlockstore()
  const [initial, ...later] = commits.map((writes) => writes.map(({ key, action, value }) => {
    const { collection, rkey } = repo.parseDataKey(key)
    return { action, collection, rkey, ...(value && { record: jsonToLex(value) }) }
  }))
  let written = await repo.Repo.create(storage, did, keypair, initial)
  for (const writes of later) written = await written.applyWrites(writes, keypair)
  await writeFile(car, await repo.concatBytesAsync(repo.getFullRepo(storage, written.cid)))
  return { key: keypair.did() }
}

async function answer(request) {
  try {
    return await { verify, accept, read, write }[request.what](request)
  } catch (error) {
    return { refused: `${error?.message ?? error}`.slice(0, 300) }
  }
}

const answers = []
for (const request of JSON.parse(await text(process.stdin))) answers.push(await answer(request))
process.stdout.write(JSON.stringify(answers))
