import { execFileSync } from 'node:child_process'
import {
  chmodSync,
  chownSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { isBrokerError } from '../../src/base/errors.js'
import {
  checkPrivateFile,
  ensurePrivateDirectory,
  readPlainFile,
  readPrivateFile,
} from '../../src/os/private-files.js'
import { appendToFile, readBackwards } from '../../src/os/rotating-file.js'

const modeOf = (path: string) => statSync(path).mode & 0o777

t.test('creates a missing directory, and its missing parents, for us alone', async (t) => {
  const dir = join(t.testdir(), 'a', 'b')
  await ensurePrivateDirectory(dir)
  t.equal(modeOf(dir), 0o700)
  t.equal(modeOf(join(dir, '..')), 0o700)
  await ensurePrivateDirectory(dir)
})

t.test('rejects looser modes, with a hint that repairs them', async (t) => {
  const dir = join(t.testdir({ "it's mine": { file: 'secret' } }), "it's mine")
  const file = join(dir, 'file')
  for (const mode of [0o755, 0o770, 0o701]) {
    chmodSync(dir, mode)
    await repairs(() => ensurePrivateDirectory(dir))
    t.equal(modeOf(dir), 0o700, 'the hint is a command that works')
  }
  for (const mode of [0o644, 0o660, 0o604]) {
    chmodSync(file, mode)
    await t.rejects(readPrivateFile(file), { code: 'state_dir_unsafe' })
    await repairs(() => checkPrivateFile(file))
    t.equal((await readPrivateFile(file))?.toString(), 'secret')
  }

  async function repairs(work: () => Promise<unknown>): Promise<void> {
    const error = await work().catch((error: unknown) => error)
    if (!isBrokerError(error, 'state_dir_unsafe')) throw new Error('it must be refused')
    execFileSync('/bin/sh', ['-c', error.hint ?? 'false'])
    await work()
  }
})

t.test('rejects a link, a file or a pipe', async (t) => {
  const root = t.testdir({ file: 'secret', real: {} })
  chmodSync(join(root, 'real'), 0o700)
  chmodSync(join(root, 'file'), 0o600)
  symlinkSync(join(root, 'real'), join(root, 'dirlink'))
  symlinkSync(join(root, 'file'), join(root, 'filelink'))
  symlinkSync(join(root, 'nowhere'), join(root, 'dangling'))
  execFileSync('mkfifo', ['-m', '600', join(root, 'pipe')])
  for (const name of ['dirlink', 'file', 'dangling', 'pipe']) {
    await t.rejects(
      ensurePrivateDirectory(join(root, name)),
      { code: 'state_dir_unsafe', hint: /^mv / },
      name,
    )
  }
  for (const name of ['filelink', 'real', 'dangling', 'pipe']) {
    await t.rejects(readPrivateFile(join(root, name)), { code: 'state_dir_unsafe', hint: /^mv / }, name)
  }
})

const isRoot = process.getuid?.() === 0
t.test(
  "somebody else's directory and file are refused",
  isRoot ? {} : { skip: 'only root can give files away' },
  async (t) => {
    const root = t.testdir({ file: 'secret' })
    const dir = join(root, 'theirs')
    mkdirSync(dir, { mode: 0o700 })
    chmodSync(join(root, 'file'), 0o600)
    chownSync(dir, 12345, 12345)
    chownSync(join(root, 'file'), 12345, 12345)
    await t.rejects(ensurePrivateDirectory(dir), {
      code: 'state_dir_unsafe',
      hint: /^ls -ld .*run prefect-authd as user 12345/,
    })
    await t.rejects(readPrivateFile(join(root, 'file')), {
      code: 'state_dir_unsafe',
      hint: /^ls -ld .*run prefect-authd as user 12345/,
    })
  },
)

t.test('takes a missing file for absent, not for an error', async (t) => {
  const path = join(t.testdir(), 'missing')
  t.equal(await checkPrivateFile(path), false)
  t.equal(await readPrivateFile(path), undefined)
  writeFileSync(path, 'x', { mode: 0o600 })
  t.equal(await checkPrivateFile(path), true)
})

t.test('says that a directory cannot be created', async (t) => {
  const root = t.testdir({ file: '' })
  symlinkSync(join(root, 'nowhere'), join(root, 'dangling'))
  await t.rejects(ensurePrivateDirectory(join(root, 'dangling', 'x', 'y')), { code: 'disk_failed' })
  await t.rejects(ensurePrivateDirectory(join(root, 'file', 'x')), { code: 'disk_failed' })
  // Node's own recursive mkdir never comes back from this one.
  await t.rejects(ensurePrivateDirectory('/proc/nothing/here'), { code: 'disk_failed', message: /proc/ })
})

t.test('a pipe, device, socket or directory in place of a file makes no reader or writer wait', async (t) => {
  // A short path, for the socket.
  const dir = mkdtempSync(join(tmpdir(), 'pab-'))
  t.after(() => rmSync(dir, { recursive: true }))
  const at = (name: string) => join(dir, name)
  execFileSync('mkfifo', ['-m', '600', at('pipe')])
  mkdirSync(at('directory'), { mode: 0o700 })
  symlinkSync('/dev/zero', at('device'))
  const server = createServer().listen(at('socket'))
  await new Promise((resolve) => server.once('listening', resolve))
  t.after(() => server.close())
  for (const name of ['pipe', 'directory', 'device', 'socket']) {
    const refused = { code: 'state_dir_unsafe', message: new RegExp(at(name)), hint: /mv / }
    await t.rejects(readPlainFile(at(name)), refused, name)
    await t.rejects(readPrivateFile(at(name)), { code: 'state_dir_unsafe' }, name)
    await t.rejects(appendToFile(at(name), 'line\n'), Error, name)
    await t.rejects(
      readBackwards(at(name), 0, () => true),
      refused,
      name,
    )
  }
})

t.test('reads a plain file, through links too, and knows a missing one', async (t) => {
  const dir = t.testdir({ file: 'text', link: t.fixture('symlink', 'file') })
  t.equal((await readPlainFile(join(dir, 'file')))?.toString(), 'text')
  t.equal((await readPlainFile(join(dir, 'link')))?.toString(), 'text')
  t.equal(await readPlainFile(join(dir, 'missing')), undefined)
})
