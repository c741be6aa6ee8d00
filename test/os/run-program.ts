import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import t from 'tap'
import { type ProgramCall, runProgram } from '../../src/os/run-program.js'
import { systemClock } from '../../src/std/clock.js'
import { until } from '../fixtures/secret-service.js'

const clock = systemClock()

function node(script: string, more: Partial<ProgramCall> = {}) {
  const call = { file: process.execPath, args: ['-e', script], env: {}, deadlineMs: 20_000, ...more }
  return runProgram(call, clock)
}

t.test('returns the output and the exit of the program', async (t) => {
  const result = await node(
    'process.stdin.pipe(process.stdout); console.error("aside"); process.exitCode = 3',
    {
      input: 'hello',
    },
  )
  t.same(result, { kind: 'exited', code: 3, stdout: 'hello', stderr: 'aside\n' })
})

t.test('gives the program nothing of our own environment', async (t) => {
  process.env.PAB_TEST_LEAK = 'leaked'
  t.teardown(() => delete process.env.PAB_TEST_LEAK)
  const result = await node('console.log(process.env.ONLY, process.env.PAB_TEST_LEAK)', {
    env: { ONLY: 'this' },
  })
  t.match(result, { stdout: 'this undefined\n' })
})

t.test('distinguishes a crash from an exit', async (t) => {
  t.match(await node('process.kill(process.pid, "SIGSEGV")'), { kind: 'crashed', signal: 'SIGSEGV' })
})

t.test('says that a program does not exist', async (t) => {
  t.match(await node('', { file: '/nowhere/program' }), { kind: 'not_started', reason: /ENOENT/ })
})

t.test('survives a program that ends without reading its input', async (t) => {
  t.match(await node('process.exit(0)', { input: 'x'.repeat(1_000_000) }), { kind: 'exited', code: 0 })
})

t.test('kills a program that ignores signals at its deadline', async (t) => {
  const pidFile = `${t.testdir()}/pid`
  const script = `
    process.on('SIGTERM', () => {})
    require('fs').writeFileSync(${JSON.stringify(pidFile)}, String(process.pid))
    setInterval(() => {}, 1000)`
  t.same(await node(script, { deadlineMs: 1500 }), { kind: 'timed_out' })
  const pid = readFileSync(pidFile, 'utf8')
  await until(() => !existsSync(`/proc/${pid}`))
  t.pass('gone')
})

t.test('does not wait for children that hold the pipes of the program', async (t) => {
  const script = `
    const { spawn } = require('child_process')
    const left = spawn(process.execPath, ['-e', 'setTimeout(() => {}, 8000)'], { stdio: 'inherit', detached: true })
    setInterval(() => {}, 1000)`
  t.same(await node(script, { deadlineMs: 1500 }), { kind: 'timed_out' })
})

t.test('a held stdin stays open while the program runs', async (t) => {
  const script = `
    process.stdin.on('end', () => { console.log('ended'); process.exit() }).resume()
    setTimeout(() => { console.log('still open'); process.exit() }, 200)`
  t.match(await node(script, { isStdinHeld: true }), { stdout: 'still open\n' })
  t.match(await node(script), { stdout: 'ended\n' })
})

t.test(
  'without descriptors, or with too long a list, a program is not started, and that is all',
  async (t) => {
    const fixture = new URL('fixtures/no-descriptors.ts', import.meta.url).pathname
    const command = `ulimit -n 64; exec "${process.execPath}" --import=tsx "${fixture}"`
    const { status, stdout, stderr } = spawnSync('/bin/sh', ['-c', command], { encoding: 'utf8' })
    t.equal(status, 0, stderr.slice(0, 500))
    const results: unknown = JSON.parse(stdout || '[]')
    if (!Array.isArray(results)) throw new Error('no list')
    t.match(results.at(0), { kind: 'exited', stdout: 'hello\n' })
    for (const one of results.slice(1, -2)) t.match(one, { kind: /^(not_started|exited)$/ })
    t.match(results.at(1), { kind: 'not_started', reason: /EMFILE|EAGAIN/ })
    t.match(results.at(-2), { kind: 'exited', stdout: 'hello\n' }, 'later it is')
    t.match(results.at(-1), { kind: 'not_started', reason: /E2BIG/ })
  },
)
