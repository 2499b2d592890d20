// The PLC directory, with its contents in one JSON file. Settings: PLC_PORT, PLC_DATA_DIRECTORY.
//
// The package offers PostgreSQL or a database in memory. We take the second and keep it on disk: the file is
// read at the start and replaced before an operation is answered, so that what a client was told is true
// survives a stop at any moment.

import fs from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'

import { listenOnLoopbackOnly, log, requirePackage } from './common.mjs'

const port = Number(process.env.PLC_PORT)
const file = path.join(process.env.PLC_DATA_DIRECTORY, 'operations.json')

const { Database, PlcServer } = requirePackage('@did-plc/server')
// the CID class that the server's own code was built with
const { CID } = createRequire(requirePackage.resolve('@did-plc/server'))('multiformats/cid')

function load() {
  if (!fs.existsSync(file)) return {}
  const logs = JSON.parse(fs.readFileSync(file, 'utf8'))
  const revive = (op) => ({ ...op, cid: CID.parse(op.cid), createdAt: new Date(op.createdAt) })
  return Object.fromEntries(Object.entries(logs).map(([did, ops]) => [did, ops.map(revive)]))
}

function save(contents) {
  const plain = (op) => ({ ...op, cid: op.cid.toString() })
  const logs = Object.entries(contents).filter(([, ops]) => ops.length > 0) // a refused first operation leaves []
  const text = JSON.stringify(Object.fromEntries(logs.map(([did, ops]) => [did, ops.map(plain)])))
  const descriptor = fs.openSync(`${file}.partial`, 'w', 0o600)
  try {
    fs.writeFileSync(descriptor, text)
    fs.fsyncSync(descriptor)
  } finally {
    fs.closeSync(descriptor)
  }
  fs.renameSync(`${file}.partial`, file)
}

listenOnLoopbackOnly()
log(`PLC directory starting, process ${process.pid}`)
const database = Database.mock()
database.contents = load()
const add = database.validateAndAddOp.bind(database)
database.validateAndAddOp = async (did, operation) => {
  await add(did, operation)
  save(database.contents)
}

const server = PlcServer.create({ db: database, port })
for (const signal of ['SIGINT', 'SIGTERM']) {
  process.once(signal, async () => {
    await server.destroy()
    log('PLC directory stopped')
    process.exit(0)
  })
}
await server.start()
log(`PLC directory listening on 127.0.0.1:${port}, ${Object.keys(database.contents).length} accounts`)
