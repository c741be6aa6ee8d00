import { readdirSync, readFileSync, statSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { sweepTemporaryFiles, sweepTemporaryFilesOf, writeFileAtomic } from '../../src/os/atomic-file.js'
import { onSmallDisk, whyNoSmallDisk } from '../fixtures/small-disk.js'

t.test('writes content and mode, whatever the umask says', async (t) => {
  const path = join(t.testdir(), 'x')
  const before = process.umask(0o777)
  try {
    await writeFileAtomic(path, 'one')
    t.equal(statSync(path).mode & 0o777, 0o600)
    await writeFileAtomic(path, 'two', { mode: 0o644 })
    t.equal(statSync(path).mode & 0o777, 0o644)
  } finally {
    process.umask(before)
  }
  t.equal(readFileSync(path, 'utf8'), 'two')
  t.strictSame(readdirSync(join(path, '..')), ['x'])
})

t.test('keeps the old file, and leaves nothing else, if any step fails', async (t) => {
  const dir = t.testdir({ x: 'old', taken: {} })
  await t.rejects(writeFileAtomic(join(dir, 'missing', 'x'), 'new'), { code: 'ENOENT' })
  await t.rejects(writeFileAtomic(join(dir, 'taken'), 'new'), { code: 'EISDIR' })
  const refuse = { beforeRename: () => Promise.reject(new Error('no')) }
  await t.rejects(writeFileAtomic(join(dir, 'x'), 'new', refuse), /no/)
  t.equal(readFileSync(join(dir, 'x'), 'utf8'), 'old')
  t.strictSame(readdirSync(dir).sort(), ['taken', 'x'])
})

t.test('replaces a link, and does not touch its target', async (t) => {
  const dir = t.testdir({ target: 'theirs' })
  symlinkSync('target', join(dir, 'x'))
  await writeFileAtomic(join(dir, 'x'), 'ours')
  t.equal(readFileSync(join(dir, 'target'), 'utf8'), 'theirs')
})

t.test('concurrent writers leave the content of one of them', async (t) => {
  const path = join(t.testdir(), 'x')
  const texts = Array.from({ length: 20 }, (_, index) => String(index).repeat(50_000))
  await Promise.all(texts.map((text) => writeFileAtomic(path, text)))
  t.ok(texts.includes(readFileSync(path, 'utf8')))
  t.strictSame(readdirSync(join(path, '..')), ['x'])
})

t.test(
  'keeps the old file, and leaves nothing else, on a full disk',
  { skip: whyNoSmallDisk() },
  async (t) => {
    await onSmallDisk(async (mount) => {
      const path = join(mount, 'x')
      await writeFileAtomic(path, 'old')
      await t.rejects(writeFileAtomic(path, 'n'.repeat(100_000)), { code: 'ENOSPC' })
      t.equal(readFileSync(path, 'utf8'), 'old')
      t.strictSame(readdirSync(mount), ['x'])
    })
  },
)

t.test('deletes the temporary files that a killed writer left, and no other file', async (t) => {
  const dir = t.testdir({
    'doc.json': '',
    'doc.json.0a1b2c3d4e5f.tmp': 'half',
    'doc.json.previous.tmp': '',
    'other.json.0a1b2c3d4e5f.tmp': 'half',
    'doc.json.tmp': 'of an editor',
    'doc.json.swp.tmp': '',
  })
  await sweepTemporaryFilesOf(join(dir, 'doc.json'))
  const others = ['doc.json', 'doc.json.swp.tmp', 'doc.json.tmp']
  t.strictSame(readdirSync(dir).sort(), [...others, 'other.json.0a1b2c3d4e5f.tmp'])
  await sweepTemporaryFiles(dir)
  t.strictSame(readdirSync(dir).sort(), others)
  await sweepTemporaryFiles(join(dir, 'missing'))
})
