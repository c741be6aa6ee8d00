/** The file vault, killed at any moment of a write. */
import { spawn } from 'node:child_process'
import { join, resolve } from 'node:path'
import t from 'tap'
import { systemClock } from '../../src/std/clock.js'
import { silentLog } from '../../src/std/log.js'
import { openVault } from '../../src/vault/open-vault.js'

/** When to kill: milliseconds after the start (while the vault is created), or after the first write. */
const MOMENTS = [
  ['ready', 2],
  ['ready', 12],
  ['ready', 25],
  ['wrote', 0],
  ['wrote', 3],
  ['wrote', 7],
  ['wrote', 40],
] as const

const SOURCE = `
import { openVault } from ${JSON.stringify(resolve('src/vault/open-vault.ts'))}
import { systemClock } from ${JSON.stringify(resolve('src/std/clock.ts'))}
import { silentLog } from ${JSON.stringify(resolve('src/std/log.ts'))}
import { Secret } from ${JSON.stringify(resolve('src/std/secret.ts'))}
process.stdout.write('ready\\n')
const vault = await openVault({
  settings: { backend: 'file', keyWrap: 'key-file' }, stateDir: process.argv[1], childPath: '/nowhere', execPath: '/nowhere',
  env: {}, clock: systemClock(), log: silentLog(),
})
const before = Number((await vault.get('key:a'))?.reveal() ?? 0)
for (let i = before + 1; ; i++) {
  await vault.put('key:a', new Secret(String(i)))
  process.stdout.write('wrote ' + i + '\\n')
}`

/** Runs the writer, kills it, and returns the last write that it reported. */
function writeUntilKilled(stateDir: string, word: string, delayMs: number): Promise<number> {
  const args = ['--import=tsx', '--input-type=module', '-e', SOURCE, stateDir]
  const writer = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] })
  let said = ''
  writer.stdout.setEncoding('utf8').on('data', (text: string) => {
    if (!said.includes(word) && (said + text).includes(word))
      setTimeout(() => writer.kill('SIGKILL'), delayMs)
    said += text
  })
  return new Promise((resolve) => {
    writer.once('close', () => resolve(Number(/wrote (\d+)\n[^\n]*$/.exec(said)?.[1] ?? 0)))
  })
}

t.test('killed at any moment, the vault has everything it reported as written', async (t) => {
  const stateDir = join(t.testdir(), 'state')
  let done = 0
  for (const [word, delay] of MOMENTS) {
    done = Math.max(done, await writeUntilKilled(stateDir, word, delay))
    const settings = { backend: 'file', keyWrap: 'key-file' } as const
    const programs = { childPath: '/nowhere', execPath: '/nowhere', env: {} }
    const vault = await openVault({ settings, stateDir, ...programs, clock: systemClock(), log: silentLog() })
    const kept = Number((await vault.get('key:a'))?.reveal() ?? 0)
    t.ok(
      kept === done || kept === done + 1,
      `${delay} ms after '${word}': ${kept} is there, ${done} was said to be`,
    )
    done = kept
    await vault.close()
  }
  t.ok(done > 0, 'something was written at all')
})
