/** What must be on the disk before what: seen at the handles of real files, where no power cut can be had. */
import { chmodSync, readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { openState } from '../../src/daemon/state.js'
import { syncDirectory, writeFileAtomic } from '../../src/os/atomic-file.js'
import { systemClock } from '../../src/std/clock.js'
import { silentLog } from '../../src/std/log.js'

interface Synced {
  /** What the handle leads to. */
  readonly path: string
  /** Of a file: what it says at this moment, and its mode. */
  readonly content?: string
  readonly mode: number
  /** What readers see at this moment. */
  readonly visible: string | undefined
}

/** Every fsync from now on, in order. `fail`: the code with which one of this kind fails. */
async function watchSyncs(
  t: Test,
  path: string,
  fail: { file?: string; directory?: string; mode?: string } = {},
) {
  const probe = await open(import.meta.filename, 'r')
  const prototype: FileHandle = Object.getPrototypeOf(probe)
  await probe.close()
  const { sync, chmod } = prototype
  const synced: Synced[] = []
  prototype.sync = async function (this: FileHandle) {
    const target = readlinkSync(`/proc/self/fd/${this.fd}`)
    const isFile = statSync(target).isFile()
    const content = isFile ? readFileSync(target, 'utf8') : undefined
    const visible = readdirSync(join(path, '..')).includes('x') ? readFileSync(path, 'utf8') : undefined
    const mode = statSync(target).mode & 0o777
    synced.push({ path: target, mode, visible, ...(content === undefined ? {} : { content }) })
    const code = isFile ? fail.file : fail.directory
    if (code !== undefined) throw Object.assign(new Error(code), { code })
    await sync.call(this)
  }
  prototype.chmod = async function (this: FileHandle, mode) {
    const code = fail.mode
    if (code !== undefined) throw Object.assign(new Error(code), { code })
    await chmod.call(this, mode)
  }
  t.teardown(() => {
    Object.assign(prototype, { sync, chmod })
  })
  return synced
}

t.test(
  'the content is on the disk before it has the name, and the name before the write is done',
  async (t) => {
    const directory = t.testdir({ x: 'old' })
    const path = join(directory, 'x')
    const synced = await watchSyncs(t, path)
    let before = -1
    const umask = process.umask(0o777)
    try {
      await writeFileAtomic(path, 'new', {
        mode: 0o640,
        beforeRename: async () => {
          before = synced.length
        },
      })
    } finally {
      process.umask(umask)
    }
    t.equal(before, 1, 'what happens before the rename happens after the fsync')
    t.match(synced, [
      { path: /\/x\.[0-9a-f]{12}\.tmp$/, content: 'new', mode: 0o640, visible: 'old' },
      { path: directory, visible: 'new' },
    ])
    t.equal(synced.length, 2)
  },
)

t.test(
  'a write that the disk does not take is no write, and one that only the directory lacks is told',
  async (t) => {
    for (const code of ['EIO', 'ENOSPC']) {
      const directory = t.testdir({ x: 'old' })
      const path = join(directory, 'x')
      await t.test(`${code}, file`, async (t) => {
        await watchSyncs(t, path, { file: code })
        await t.rejects(writeFileAtomic(path, 'new'), { code })
        t.equal(readFileSync(path, 'utf8'), 'old')
        t.strictSame(readdirSync(directory), ['x'])
      })
      await t.test(`${code}, directory`, async (t) => {
        await watchSyncs(t, path, { directory: code })
        await t.rejects(writeFileAtomic(path, 'new'), { code })
        await t.rejects(syncDirectory(directory), { code })
      })
    }
  },
)

t.test('what the file system of the state does not have is said once, and nothing fails', async (t) => {
  const stateDir = t.testdir({})
  chmodSync(stateDir, 0o700)
  await watchSyncs(t, join(stateDir, 'x'), { file: 'EINVAL', directory: 'EINVAL', mode: 'EPERM' })
  const state = await openState({ stateDir, clock: systemClock(), log: silentLog() })
  t.strictSame(state.limits(), [])
  await state.tokens.update((list) => ({ ...list }))
  t.match(state.limits(), [/a power cut.* \(EINVAL\)$/], 'a mode that is right need not be set')
  t.equal(state.limits().length, 1)
  const umask = process.umask(0o777)
  try {
    for (let write = 0; write < 2; write += 1) await state.tokens.update((list) => ({ ...list }))
  } finally {
    process.umask(umask)
  }
  t.match(state.limits(), [/a power cut/, /keeps no file modes.* \(EPERM\)$/])
  t.equal(state.limits().length, 2)
  t.equal(state.trouble(), undefined)
  await state.close()
})
