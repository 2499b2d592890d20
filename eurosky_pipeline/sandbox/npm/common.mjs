// What both servers need: packages from the cache folder, loopback only, a word in the log.
//
// Usage of either script: node <script>.mjs <folder that holds node_modules> <marker>
// Settings come in the environment. The marker does nothing; it names the sandbox that this process belongs to.

import { createRequire } from 'node:module'
import net from 'node:net'
import path from 'node:path'

// These scripts live in the Python package and their dependencies in the user's cache, so a bare
// `import '@atproto/pds'` would find nothing: names are resolved as if asked from the cache folder.
export const requirePackage = createRequire(path.join(process.argv[2], 'package.json'))

// Both servers call `listen(port)`, which binds every interface of the machine. Neither has a setting for
// the address, and a server with open registration must not be reachable from outside.
export function listenOnLoopbackOnly() {
  const listen = net.Server.prototype.listen
  net.Server.prototype.listen = function (port, ...rest) {
    if (typeof port !== 'number') throw new Error('expected listen(port): cannot tell which address it would bind')
    return listen.call(this, { port, host: '127.0.0.1' }, ...rest)
  }
}

export function log(text) {
  console.log(`${new Date().toISOString()} ${text}`)
}
