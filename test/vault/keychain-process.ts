import { spawn } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { createInterface } from 'node:readline'
import t, { type Test } from 'tap'
import { systemClock } from '../../src/std/clock.js'
import { createKeychainProcess } from '../../src/vault/keychain-process.js'
import {
  bundleKeychainChild,
  needsSecretService,
  startSecretService,
  until,
} from '../fixtures/secret-service.js'

const request = { verb: 'set', service: 'prefect-auth-broker', account: 'key:x', value: 'pab1:hush' } as const

function ask(t: Test, script: string, deadlineMs = 20_000) {
  const childPath = join(t.testdir({ 'child.mjs': script }), 'child.mjs')
  const env = { HOME: '/nowhere' }
  return createKeychainProcess({
    execPath: process.execPath,
    childPath,
    env,
    deadlineMs,
    clock: systemClock(),
  })(request)
}

t.test('passes the secret through stdin, not through arguments or environment', async (t) => {
  const script = `
    import { readdirSync, readFileSync } from 'node:fs'
    const seen = ['cmdline', 'environ'].map((name) => readFileSync('/proc/self/' + name, 'utf8')).join()
    process.stdin.once('data', (line) => {
      const value = JSON.stringify([seen.includes('hush'), String(line).includes('hush')])
      process.stdout.write(JSON.stringify({ kind: 'value', value }), () => process.exit(0))
    })`
  t.same(await ask(t, script), { kind: 'value', value: '[false,true]' })
})

const BROKEN: readonly (readonly [name: string, script: string, code: string, message: RegExp])[] = [
  ['crashes', 'process.kill(process.pid, "SIGSEGV")', 'vault_unavailable', /killed by SIGSEGV/],
  ['ends without a word', 'process.exit(3)', 'vault_unavailable', /exit code 3/],
  ['cannot be loaded', 'import "no-such-module"', 'vault_unavailable', /ERR_MODULE_NOT_FOUND/],
  ['says something else', 'console.log("hello"); process.exit(0)', 'vault_unavailable', /exit code 0/],
  [
    'answers what is no answer',
    'console.log(JSON.stringify({kind: "value"})); process.exit(0)',
    'vault_unavailable',
    /code 0/,
  ],
]
for (const [name, script, code, message] of BROKEN) {
  t.test(`a child that ${name}`, async (t) => {
    await t.rejects(ask(t, script), { code, message })
  })
}

t.test('kills a child that never answers', async (t) => {
  await t.rejects(ask(t, 'setInterval(() => {}, 1000)', 300), {
    code: 'vault_timeout',
    message: /within 300 ms/,
  })
})

t.test('no error contains the value to be stored', async (t) => {
  const error = await ask(
    t,
    'process.stdin.pipe(process.stderr); process.stdin.once("data", () => process.exit(1))',
  ).then(
    () => t.fail('it must reject'),
    (error: unknown) => error,
  )
  t.notMatch(String(error), /hush/)
})

t.test(
  'the real child dies with its parent, even while the keyring holds it',
  needsSecretService(),
  async (t) => {
    const childPath = bundleKeychainChild(t)
    const service = await startSecretService()
    t.teardown(() => service.stop())
    service.hang()
    const source = JSON.stringify(resolve('src/vault/keychain-process.ts'))
    const clock = JSON.stringify(resolve('src/std/clock.ts'))
    const options = JSON.stringify({
      execPath: process.execPath,
      childPath,
      env: service.env,
      deadlineMs: 60_000,
    })
    const script = `
    import { createKeychainProcess } from ${source}
    import { systemClock } from ${clock}
    createKeychainProcess({ ...${options}, clock: systemClock() })(${JSON.stringify(request)})
    console.log('asked')`
    const args = ['--import=tsx', '--input-type=module', '-e', script]
    const parent = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] })
    t.teardown(() => parent.kill('SIGKILL'))
    await createInterface({ input: parent.stdout })[Symbol.asyncIterator]().next()
    const childOf = () =>
      readFileSync(`/proc/${parent.pid}/task/${parent.pid}/children`, 'utf8').trim().split(' ')
    // tsx may have a child of its own: ours is the one that runs the bundle.
    const pid = await found(() => childOf().find((pid) => commandOf(pid).includes(childPath)))
    // Now it is inside keytar: libsecret talks D-Bus in a thread of its own.
    await until(() => threadsOf(pid).includes('gdbus'))
    parent.kill('SIGKILL')
    await until(() => commandOf(pid) === '')
    t.pass('the child is gone')
  },
)

function commandOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8')
  } catch {
    return ''
  }
}

function threadsOf(pid: string): readonly string[] {
  const tasks = readdirSync(`/proc/${pid}/task`)
  return tasks.map((task) => readFileSync(`/proc/${pid}/task/${task}/comm`, 'utf8').trim())
}

async function found<T>(look: () => T | undefined): Promise<T> {
  let result: T | undefined
  await until(() => {
    result = look()
    return result !== undefined
  })
  if (result === undefined) throw new Error('not found')
  return result
}
