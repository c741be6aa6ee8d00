import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import t from 'tap'
import { findHolders } from '../../src/cli/holders.js'
import { Secret } from '../../src/std/secret.js'

const isWithoutProc = existsSync('/proc/self/environ') ? false : 'this system shows no environments'

for (const [what, value, key] of [
  ['letters and digits', 'pnu_1234567890abcdefABCDEF'],
  ['any other character that a key may have', 'pnu_1234-5678_90ab.cdef~GH'],
  ['a prefix that Prefect has not used yet', 'key_1234567890abcdef'],
  ['a part of the value', 'https://user:pnu_1234-5678_90ab@example.com/', 'pnu_1234-5678_90ab'],
] as const) {
  t.test(`a process is found by its key: ${what}`, { skip: isWithoutProc }, async (t) => {
    const child = spawn('sleep', ['600'], { env: { PATH: process.env.PATH ?? '', PREFECT_API_KEY: value } })
    t.teardown(() => child.kill('SIGKILL'))
    await once(child, 'spawn')
    t.match(findHolders()?.get(new Secret(key ?? value).fingerprint()), [{ pid: child.pid, name: 'sleep' }])
  })
}
