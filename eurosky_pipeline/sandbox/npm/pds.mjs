// One Personal Data Server. Its settings are the PDS_* variables of its environment.

import { pathToFileURL } from 'node:url'

import { listenOnLoopbackOnly, log, requirePackage } from './common.mjs'

listenOnLoopbackOnly()
log(`PDS starting, process ${process.pid}`)
const { PDS } = await import(pathToFileURL(requirePackage.resolve('@atproto/pds')))
await PDS.run({ onStarted: () => log(`PDS listening on 127.0.0.1:${process.env.PDS_PORT}`) })
log('PDS stopped')
