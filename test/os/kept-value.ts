/** What waits together is one write, and nothing but the number of writes differs from one change at a time. */
import fc from 'fast-check'
import t from 'tap'
import { createKeptValue } from '../../src/os/kept-value.js'

/** A disk that is slow, and fails when it is told to. */
function createDisk(...failures: readonly number[]) {
  const writes: string[] = []
  let tries = 0
  const save = async (value: string) => {
    tries += 1
    const isFailure = failures.includes(tries)
    await new Promise((resolve) => setImmediate(resolve))
    if (isFailure) throw new Error(`write ${tries}`)
    writes.push(value)
  }
  return { save, writes }
}

const add = (text: string) => (value: string) => value + text

t.test('notes and updates of one moment are one write each, however many there are', async (t) => {
  for (const kind of ['note', 'update'] as const) {
    const { save, writes } = createDisk()
    const kept = createKeptValue<string>('', save)
    await Promise.all(Array.from({ length: 200 }, () => kept[kind](add('x'))))
    t.equal(kept.read(), 'x'.repeat(200))
    t.strictSame(writes, [kept.read()], kind)
  }
})

t.test('what comes while a write is under way waits for the next one, which has all of it', async (t) => {
  const { save, writes } = createDisk()
  const kept = createKeptValue<string>('', save)
  const first = kept.note(add('a'))
  await Promise.resolve()
  await Promise.resolve()
  const others = ['b', 'c', 'd'].map((text) => kept.note(add(text)))
  const durable = await Promise.race([Promise.all(others).then(() => 'others'), first.then(() => 'first')])
  t.equal(durable, 'first', 'each resolves with its own write')
  await Promise.all(others)
  t.strictSame(writes, ['a', 'abcd'])
})

t.test('updates and notes keep their order, and no update shows before it is written', async (t) => {
  const { save, writes } = createDisk()
  const kept = createKeptValue<string>('', save)
  const seen: string[] = []
  const see = () => void seen.push(kept.read())
  await Promise.all([
    ...[kept.update(add('1')).then(see), kept.update(add('2')), kept.note(add('a')).then(see)],
    ...[kept.note(add('b')), kept.update(add('3')).then(see)],
  ])
  t.strictSame(writes, ['12', '12ab', '12ab3'])
  t.strictSame(seen, ['12', '12ab', '12ab3'])
})

t.test(
  'updates whose write fails reject together; one that changed nothing before them does not',
  async (t) => {
    const { save, writes } = createDisk(1)
    const kept = createKeptValue<string>('', save)
    const outcomes = await Promise.allSettled([
      kept.update((value) => value),
      kept.update(add('a')),
      kept.update(() => {
        throw new Error('refused')
      }),
      kept.update(add('b')),
    ])
    t.match(outcomes, [
      { status: 'fulfilled', value: '' },
      { status: 'rejected', reason: { message: 'write 1' } },
      { status: 'rejected', reason: { message: 'refused' } },
      { status: 'rejected', reason: { message: 'write 1' } },
    ])
    t.equal(kept.read(), '', 'none of them has happened')
    await kept.retry()
    t.strictSame(writes, [''], 'and the disk gets what memory has')
  },
)

t.test('notes whose write fails are seen, and written by the next write', async (t) => {
  const { save, writes } = createDisk(1)
  const kept = createKeptValue<string>('', save)
  t.strictSame(await Promise.all([kept.note(add('a')), kept.note(add('b'))]), [false, false])
  t.equal(kept.read(), 'ab')
  t.equal(await kept.note((value) => value), false, 'nothing new, and still not on the disk')
  await kept.update(add('c'))
  t.strictSame(writes, ['abc'])
  t.equal(await kept.note((value) => value), true)
})

t.test('any mixture ends as it does one change at a time', async (t) => {
  const step = fc.record({
    kind: fc.constantFrom('note' as const, 'update' as const),
    text: fc.constantFrom('', 'a', 'b', '!'),
    pause: fc.nat(3),
  })
  const changeOf = (text: string) => (value: string) => {
    if (text === '!') throw new Error('refused')
    return value + text
  }
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 12 }), async (steps) => {
      const { save, writes } = createDisk()
      const together = createKeptValue<string>('', save)
      const results: Promise<unknown>[] = []
      for (const { kind, text, pause } of steps) {
        results.push(together[kind](changeOf(text)))
        for (let turn = 0; turn < pause; turn += 1) await Promise.resolve()
      }
      const outcomes = await Promise.allSettled(results)
      const single = createKeptValue<string>('', createDisk().save)
      for (const [index, { kind, text }] of steps.entries()) {
        const [alone] = await Promise.allSettled([single[kind](changeOf(text))])
        t.match(outcomes[index], { status: alone.status })
        if (alone.status === 'fulfilled') t.match(outcomes[index], { value: alone.value })
      }
      t.equal(together.read(), single.read())
      t.equal(writes.at(-1) ?? '', together.read(), 'and memory is on the disk')
    }),
    { numRuns: 200, seed: 1 },
  )
})
