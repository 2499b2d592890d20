// The reference implementation's reader, with the checks that need no key: node atproto_repo.mjs PACKAGES FILE
import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'

const [packages, file] = process.argv.slice(2)
const require = createRequire(pathToFileURL(join(packages, 'package.json')))
const { MemoryBlockstore, Repo, readCarWithRoot } = await import(pathToFileURL(require.resolve('@atproto/repo')))

const before = process.cpuUsage()
const car = await readCarWithRoot(await readFile(file))
const repo = await Repo.load(new MemoryBlockstore(car.blocks), car.root)
let found = 0
for await (const record of repo.walkRecords()) {
  if (record) found += 1
}
const { user, system } = process.cpuUsage(before)
const peak = /VmHWM:\s+(\d+) kB/.exec(await readFile('/proc/self/status', 'utf8'))
console.log(JSON.stringify({ cpu_s: (user + system) / 1e6, peak_mib: Number(peak[1]) / 1024, found }))
