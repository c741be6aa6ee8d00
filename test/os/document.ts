import {
  chmodSync,
  existsSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { z } from 'zod'
import { ledgerSchema } from '../../src/daemon/state.js'
import { writeFileAtomic } from '../../src/os/atomic-file.js'
import { openDocument } from '../../src/os/document.js'
import { silentLog } from '../../src/std/log.js'
import { onSmallDisk, whyNoSmallDisk } from '../fixtures/small-disk.js'

const schema = z.object({ n: z.number(), text: z.string().optional() })
type Doc = z.infer<typeof schema>

function open(path: string, more: Partial<Parameters<typeof openDocument<Doc>>[0]> = {}) {
  return openDocument<Doc>({
    path,
    schema,
    format: 1,
    empty: { n: 0 },
    now: () => Date.UTC(2026, 0, 1),
    log: silentLog(),
    ...more,
  })
}

/** The document in the file, without format and sequence number. */
function onDisk(path: string): unknown {
  const { format: _, seq: __, ...rest } = JSON.parse(readFileSync(path, 'utf8'))
  return rest
}

t.test('starts empty, keeps updates, and the previous version', async (t) => {
  const path = join(t.testdir(), 'doc.json')
  const document = await open(path)
  t.strictSame(document.read(), { n: 0 })
  t.strictSame(document.notices, [])
  t.equal(existsSync(path), false, 'nothing is written before there is something to say')
  await document.update(() => ({ n: 1 }))
  await document.update(({ n }) => ({ n: n + 1 }))
  t.strictSame(onDisk(path), { n: 2 })
  t.strictSame(onDisk(`${path}.previous`), { n: 1 })
  t.equal(statSync(path).mode & 0o777, 0o600)
  t.strictSame((await open(path)).read(), { n: 2 })
  t.strictSame(readdirSync(join(path, '..')).sort(), ['doc.json', 'doc.json.previous'])
})

t.test('does not write an unchanged document', async (t) => {
  const path = join(t.testdir(), 'doc.json')
  const document = await open(path)
  await document.update((current) => current)
  t.equal(existsSync(path), false)
})

t.test('applies concurrent updates one at a time; one that throws changes nothing', async (t) => {
  const path = join(t.testdir(), 'doc.json')
  const document = await open(path)
  const all = Array.from({ length: 50 }, () => document.update(({ n }) => ({ n: n + 1 })))
  const bad = document.update(() => {
    throw new Error('no')
  })
  await t.rejects(bad, /no/)
  await Promise.all(all)
  t.strictSame(onDisk(path), { n: 50 })
})

const BROKEN = ['', '{"n":', 'null', '{"n":"1"}', '[]', '\0\0\0\0', '{"n":1}{"n":1}']

for (const broken of BROKEN) {
  t.test(
    `a file that holds ${JSON.stringify(broken)} is kept aside, and replaced by the previous version`,
    async (t) => {
      const path = join(t.testdir(), 'doc.json')
      const document = await open(path)
      await document.update(() => ({ n: 1 }))
      await document.update(() => ({ n: 2 }))
      writeFileSync(path, broken)
      const again = await open(path)
      t.strictSame(again.read(), { n: 1 })
      t.match(again.notices[0], /was corrupt and was renamed to .*; using the previous version/)
      t.equal(readFileSync(`${path}.corrupt-2026-01-01T00-00-00.000Z`, 'utf8'), broken)
      const third = await open(path)
      t.strictSame(third.read(), { n: 1 }, 'also at the start after that')
      t.strictSame(third.notices, [])
    },
  )
}

t.test('starts empty if both versions are broken, says so, and keeps both', async (t) => {
  const path = join(t.testdir({ 'doc.json': '{', 'doc.json.previous': '[' }), 'doc.json')
  chmodSync(path, 0o600)
  chmodSync(`${path}.previous`, 0o600)
  const document = await open(path)
  t.strictSame(document.read(), { n: 0 })
  t.match(document.notices[0], /starting empty/)
  await document.update(() => ({ n: 1 }))
  t.strictSame(readdirSync(join(path, '..')).sort(), [
    'doc.json',
    'doc.json.corrupt-2026-01-01T00-00-00.000Z',
    'doc.json.previous.corrupt-2026-01-01T00-00-00.000Z',
  ])
})

t.test('takes a missing file with a previous version for lost, not for new', async (t) => {
  const path = join(t.testdir(), 'doc.json')
  const document = await open(path)
  await document.update(() => ({ n: 1 }))
  renameSync(path, `${path}.previous`)
  const again = await open(path)
  t.strictSame(again.read(), { n: 1 })
  t.match(again.notices[0], /is missing; using the previous version/)
  t.strictSame(onDisk(path), { n: 1 })
})

t.test('rejects a file that others can read, with the command that repairs it', async (t) => {
  for (const name of ['doc.json', 'doc.json.previous']) {
    const path = join(t.testdir({ [name]: '{"n":1}' }), 'doc.json')
    chmodSync(path.replace('doc.json', name), 0o644)
    await t.rejects(open(path), { code: 'state_dir_unsafe', hint: /^chmod 600 / })
  }
})

t.test('rejects an update that cannot be written, and keeps memory and disk unchanged', async (t) => {
  const dir = t.testdir()
  const path = join(dir, 'doc.json')
  const document = await open(path)
  await document.update(() => ({ n: 1 }))
  rmSync(dir, { recursive: true })
  await t.rejects(
    document.update(() => ({ n: 2 })),
    { code: 'disk_failed' },
  )
  t.strictSame(document.read(), { n: 1 })
})

t.test(
  'keeps both versions on a full disk, and works again with space',
  { skip: whyNoSmallDisk() },
  async (t) => {
    await onSmallDisk(async (disk) => {
      const path = join(disk, 'doc.json')
      const document = await open(path)
      await document.update(() => ({ n: 1 }))
      await document.update(() => ({ n: 2 }))
      await t.rejects(
        document.update(() => ({ n: 3, text: 'x'.repeat(100_000) })),
        { code: 'disk_failed' },
      )
      t.strictSame(document.read(), { n: 2 })
      t.strictSame(onDisk(path), { n: 2 })
      t.strictSame(onDisk(`${path}.previous`), { n: 1 })
      await document.update(() => ({ n: 4 }))
      t.strictSame(onDisk(path), { n: 4 })
    })
  },
)

t.test('the ledger keeps profiles of any name, and rejects invalid records', async (t) => {
  const record = { workspaces: [], generation: 3, digest: '' }
  const text = `{"profiles":{"__proto__":${JSON.stringify(record)},"constructor":${JSON.stringify(record)}},"keys":{}}`
  const parsed = ledgerSchema.parse(JSON.parse(text))
  t.strictSame(Object.keys(parsed.profiles), ['__proto__', 'constructor'])
  t.equal(JSON.stringify(parsed), text)
  const bad = { profiles: { cloud: { ...record, generation: -1 } }, keys: {} }
  for (const value of [bad, { profiles: null, keys: {} }, { profiles: [], keys: { a: {} } }, {}]) {
    t.equal(ledgerSchema.safeParse(value).success, false, JSON.stringify(value))
  }
})

t.test('a note is visible although the disk fails, and written once it works', async (t) => {
  const path = join(t.testdir(), 'doc.json')
  const disk = createDisk()
  const told: (string | undefined)[] = []
  const document = await open(path, { ...disk, onProblem: (problem) => told.push(problem?.message) })
  await document.update(() => ({ n: 1 }))
  for (const code of ['ENOSPC', 'EROFS', 'EIO', 'EDQUOT']) {
    disk.fail(code)
    const n = document.read().n + 1
    t.equal(await document.note((current) => ({ ...current, n })), false, code)
    t.equal(document.read().n, n, 'memory counts')
    await t.rejects(
      document.update(() => ({ n: 99 })),
      { code: 'disk_failed' },
      'a change is refused',
    )
    t.equal(document.read().n, n)
    t.match(document.problem(), { code: 'disk_failed', hint: /./ })
    await document.retry()
    t.equal(document.read().n, n, 'still failing')
    disk.fail(undefined)
    await document.retry()
    t.equal(document.problem(), undefined)
    t.strictSame(onDisk(path), { n })
  }
  t.equal(told.length, 8, 'each outage and each end of one is told once')
  const { seq } = JSON.parse(readFileSync(path, 'utf8'))
  t.equal(seq, document.seq())
})

t.test('a note on a working disk is durable at once', async (t) => {
  const path = join(t.testdir(), 'doc.json')
  const document = await open(path)
  t.equal(await document.note(() => ({ n: 1 })), true)
  t.equal(await document.note((current) => current), true)
  t.strictSame(onDisk(path), { n: 1 })
})

t.test('what a failed write left on the disk is replaced by what memory has', async (t) => {
  const path = join(t.testdir(), 'doc.json')
  const disk = createDisk()
  const document = await open(path, disk)
  await document.update(() => ({ n: 1 }))
  disk.fail('EIO', 'after')
  await t.rejects(
    document.update(() => ({ n: 2 })),
    { code: 'disk_failed' },
  )
  t.strictSame(onDisk(path), { n: 2 }, 'renamed, but the directory was not synced')
  disk.fail(undefined)
  await document.retry()
  t.strictSame(onDisk(path), { n: 1 }, 'the change that was refused does not hold after a restart')
})

t.test('the sequence number grows with every write, and an older copy is told by it', async (t) => {
  const path = join(t.testdir(), 'doc.json')
  const document = await open(path)
  await document.update(() => ({ n: 1 }))
  const older = readFileSync(path)
  await document.update(() => ({ n: 2 }))
  t.equal(document.seq(), 2)
  t.equal(await document.isOurs(), true)
  writeFileSync(path, older)
  t.equal(await document.isOurs(), false)
})

/** Writes files as ever, until told to fail. */
function createDisk() {
  let failure: { readonly code: string; readonly when: 'before' | 'after' } | undefined
  const fail = (when: 'before' | 'after') => {
    if (failure?.when === when) throw Object.assign(new Error(failure.code), { code: failure.code })
  }
  const write: typeof writeFileAtomic = async (...args) => {
    fail('before')
    await writeFileAtomic(...args)
    fail('after')
  }
  return {
    write,
    fail(code: string | undefined, when: 'before' | 'after' = 'before') {
      failure = code === undefined ? undefined : { code, when }
    },
  }
}
