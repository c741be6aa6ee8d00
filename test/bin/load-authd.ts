/** The compiled form of the daemon that is kept between starts: it saves time, and can do no harm. */
import { type ChildProcess, spawn } from 'node:child_process'
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { until } from '../fixtures/shipped.js'

const program = fileURLToPath(new URL('../../dist/authd.js', import.meta.url))
const home = mkdtempSync(join(tmpdir(), 'pab-load-'))
t.after(() => rmSync(home, { recursive: true, force: true }))
const state = join(home, 'state')
const kept = join(state, 'code-cache')

/** Until it has greeted. */
async function start(...flags: readonly string[]): Promise<ChildProcess> {
  const child = spawn(process.execPath, [...flags, program, '--vault-backend=file', '--port=off'], {
    env: { HOME: home, PREFECT_AUTH_STATE_DIR: state, PREFECT_AUTH_SOCKET: join(home, 'authd.sock') },
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  let said = ''
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    said += text
  })
  const isDone = () => said.includes('listens on') || child.exitCode !== null || child.signalCode !== null
  await until(isDone, () => `no greeting: ${said}`)
  return child
}

async function stop(child: ChildProcess): Promise<void> {
  const ended = new Promise((resolve) => child.once('exit', resolve))
  child.kill('SIGTERM')
  await ended
}

t.test('it is written once the daemon has settled, for its owner alone, and used as it is', async (t) => {
  const first = await start()
  t.notOk(readdirSync(state).includes('code-cache'), 'a start does not wait for it')
  await until(
    () => readdirSync(state).includes('code-cache'),
    () => 'nothing was kept',
  )
  await stop(first)
  t.equal(statSync(kept).mode & 0o777, 0o600)
  const before = readFileSync(kept)
  const second = await start()
  t.same(
    readdirSync(state).filter((name) => name.startsWith('code-cache')),
    ['code-cache'],
    'it has its name again',
  )
  await stop(second)
  t.ok(before.equals(readFileSync(kept)))
})

t.test('what is damaged, foreign or open to others is not handed to V8', async (t) => {
  const good = readFileSync(kept)
  const damaged = Buffer.from(good)
  const middle = good.length >> 1
  damaged.writeUInt8(damaged.readUInt8(middle) ^ 0x55, middle)
  const cases: readonly (readonly [string, () => void])[] = [
    ['a byte is another', () => writeFileSync(kept, damaged)],
    ['cut short', () => writeFileSync(kept, good.subarray(0, good.length - 1000))],
    ['empty', () => writeFileSync(kept, '')],
    ['a directory', () => mkdirSync(kept)],
    [
      'others may write it',
      () => {
        writeFileSync(kept, damaged)
        chmodSync(kept, 0o666)
      },
    ],
  ]
  for (const [name, prepare] of cases) {
    rmSync(kept, { recursive: true, force: true })
    prepare()
    const child = await start()
    t.equal(child.exitCode ?? child.signalCode, null, name)
    await stop(child)
  }
  rmSync(kept, { recursive: true, force: true })
  writeFileSync(kept, good, { mode: 0o600 })
  const other = await start('--optimize-for-size')
  t.equal(other.exitCode ?? other.signalCode, null, 'other flags')
  await stop(other)
})
