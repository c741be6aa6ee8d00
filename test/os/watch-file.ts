/** Every way in which programs change a file, done for real: the last content is seen, and so is the next change. */
import { mkdirSync, readFileSync, renameSync, rmSync, symlinkSync, unlinkSync, writeFileSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import t from 'tap'
import { watchFile } from '../../src/os/watch-file.js'
import { systemClock } from '../../src/std/clock.js'
import { silentLog } from '../../src/std/log.js'

const LAST = 'the last content\n'

function replace(path: string, content: string): void {
  writeFileSync(`${path}.new`, content)
  renameSync(`${path}.new`, path)
}

interface Case {
  readonly name: string
  /** Before the watch: `root/dir/file` holds `first` unless this does something else. */
  prepare?(root: string, path: string): void
  /** Ends with LAST in the file. */
  act(path: string, root: string): Promise<void> | void
  /** Another change, to see that the watch still lives; by default an atomic one. */
  again?(path: string, root: string): void
}

const cases: Case[] = [
  { name: 'one write in place', act: (path) => writeFileSync(path, LAST) },
  { name: 'one rename', act: (path) => replace(path, LAST) },
  {
    name: 'renames close together',
    async act(path) {
      for (const content of ['1', '2', '3', '4', LAST]) {
        replace(path, content)
        await pause(20)
      }
    },
  },
  {
    name: 'truncated, and written a moment later, as Prefect does',
    async act(path) {
      writeFileSync(path, '')
      await pause(30)
      writeFileSync(path, LAST)
    },
    again: (path) => writeFileSync(path, 'again'),
  },
  {
    name: 'hundreds of writes in place',
    async act(path) {
      for (let count = 0; count < 400; count++) await writeFile(path, String(count))
      writeFileSync(path, LAST)
    },
  },
  {
    name: 'hundreds of renames',
    async act(path) {
      for (let count = 0; count < 400; count++) {
        replace(path, String(count))
        if (count % 10 === 0) await pause(1)
      }
      replace(path, LAST)
    },
  },
  {
    name: 'removed and made at once',
    act(path) {
      unlinkSync(path)
      writeFileSync(path, LAST)
    },
  },
  {
    name: 'an editor that moves the old file away',
    async act(path) {
      renameSync(path, `${path}~`)
      await pause(150)
      writeFileSync(path, LAST)
    },
  },
  {
    name: 'the file is not there yet',
    prepare: (_root, path) => unlinkSync(path),
    act: (path) => writeFileSync(path, LAST),
  },
  {
    name: 'the directory is not there yet',
    prepare: (root) => rmSync(join(root, 'dir'), { recursive: true }),
    act(path, root) {
      mkdirSync(join(root, 'dir'))
      writeFileSync(path, LAST)
    },
  },
  {
    name: 'the directory and the one above are not there yet',
    prepare: (root) => rmSync(root, { recursive: true }),
    async act(path, root) {
      mkdirSync(root)
      await pause(50)
      mkdirSync(join(root, 'dir'))
      await pause(50)
      writeFileSync(path, LAST)
    },
  },
  {
    name: 'the directory is removed and made again',
    async act(path, root) {
      rmSync(join(root, 'dir'), { recursive: true })
      await pause(150)
      mkdirSync(join(root, 'dir'))
      writeFileSync(path, LAST)
    },
  },
  {
    name: 'the directory is replaced by another',
    act(_path, root) {
      mkdirSync(join(root, 'other'))
      writeFileSync(join(root, 'other', 'file'), LAST)
      renameSync(join(root, 'dir'), join(root, 'old'))
      renameSync(join(root, 'other'), join(root, 'dir'))
    },
  },
  {
    name: 'a link whose target is written',
    prepare: linkToStore,
    act: (_path, root) => writeFileSync(join(root, 'store', 'target'), LAST),
    again: (_path, root) => writeFileSync(join(root, 'store', 'target'), 'again'),
  },
  {
    name: 'a link whose target is replaced',
    prepare: linkToStore,
    act: (_path, root) => replace(join(root, 'store', 'target'), LAST),
    again: (_path, root) => replace(join(root, 'store', 'target'), 'again'),
  },
  {
    name: 'a link that is pointed elsewhere',
    prepare: linkToStore,
    act(path, root) {
      writeFileSync(join(root, 'store', 'second'), LAST)
      symlinkSync(join(root, 'store', 'second'), `${path}.new`)
      renameSync(`${path}.new`, path)
    },
    again: (_path, root) => replace(join(root, 'store', 'second'), 'again'),
  },
]

function linkToStore(root: string, path: string): void {
  mkdirSync(join(root, 'store'))
  renameSync(path, join(root, 'store', 'target'))
  symlinkSync(join(root, 'store', 'target'), path)
}

/** Polls: nothing promises that the watch is quick, only that it fires. */
async function until(condition: () => boolean): Promise<boolean> {
  const deadline = Date.now() + 8000
  while (Date.now() < deadline) {
    if (condition()) return true
    await pause(20)
  }
  return false
}

for (const { name, prepare, act, again } of cases) {
  t.test(name, async (t) => {
    const top = t.testdir({ root: { dir: { file: 'first' } } })
    const root = join(top, 'root')
    const path = join(root, 'dir', 'file')
    prepare?.(root, path)
    let seen = ''
    const look = () => {
      try {
        seen = readFileSync(path, 'utf8')
      } catch {
        seen = '(none)'
      }
      void watch.rearm()
    }
    const watch = watchFile({ path, clock: systemClock(), log: silentLog(), onStir: look })
    t.teardown(() => watch.close())
    await watch.rearm()
    await pause(50)
    await act(path, root)
    t.ok(await until(() => seen === LAST), 'the last content is seen')
    if (again === undefined) replace(path, 'again')
    else again(path, root)
    t.ok(await until(() => seen === 'again'), 'and so is the next change')
  })
}

t.test('ignores other files in the directory', async (t) => {
  const dir = t.testdir({ file: 'first', other: 'x' })
  let stirs = 0
  const onStir = () => {
    stirs += 1
  }
  const watch = watchFile({ path: join(dir, 'file'), clock: systemClock(), log: silentLog(), onStir })
  t.teardown(() => watch.close())
  await watch.rearm()
  await until(() => stirs > 0)
  const before = stirs
  writeFileSync(join(dir, 'other'), 'y')
  writeFileSync(join(dir, 'third'), 'z')
  await pause(400)
  t.equal(stirs, before, 'only the look after arming')
  writeFileSync(join(dir, 'file'), 'second')
  t.ok(await until(() => stirs > before), 'the file does')
})

t.test('does not fire once closed', async (t) => {
  const dir = t.testdir({ file: 'first' })
  let stirs = 0
  const onStir = () => {
    stirs += 1
  }
  const watch = watchFile({ path: join(dir, 'file'), clock: systemClock(), log: silentLog(), onStir })
  await watch.rearm()
  await until(() => stirs > 0)
  const before = stirs
  writeFileSync(join(dir, 'file'), 'second')
  await watch.close()
  await watch.rearm()
  writeFileSync(join(dir, 'file'), 'third')
  await pause(400)
  t.equal(stirs, before)
})
