import t from 'tap'
import { BrokerError } from '../../src/base/errors.js'
import { createItemLoader, type HeldSecret } from '../../src/keys/item-loader.js'
import { SECOND_MS } from '../../src/std/clock.js'
import { Secret } from '../../src/std/secret.js'
import { createManualClock } from '../fixtures/manual-clock.js'

const ITEMS = Array.from({ length: 26 }, (_, at) => `key:${at}`)
const held = (item: string): HeldSecret => ({ kind: 'held', secret: new Secret(item), apiUrl: 'https://x' })
const turn = () => new Promise((resolve) => setImmediate(resolve))

function stage(read: (item: string) => Promise<HeldSecret>, clock = createManualClock()) {
  const secrets = new Map<string, HeldSecret>()
  const loader = createItemLoader({
    secrets,
    wanted: () => ITEMS,
    read,
    show: () => undefined,
    bury: async () => undefined,
    clock,
  })
  const count = (kind: HeldSecret['kind']) => [...secrets.values()].filter((one) => one.kind === kind).length
  return { secrets, loader, clock, count }
}

t.test('an item that hangs holds up no other', async (t) => {
  let release: (found: HeldSecret) => void = () => undefined
  const { loader, count, secrets } = stage((item) =>
    item === 'key:2'
      ? new Promise((resolve) => {
          release = resolve
        })
      : Promise.resolve(held(item)),
  )
  const loading = loader.load()
  t.equal(count('failed'), ITEMS.length, 'until it is read, no item counts as missing')
  for (let round = 0; round < ITEMS.length; round += 1) await turn()
  t.equal(count('held'), ITEMS.length - 1)
  t.match(secrets.get('key:2'), { kind: 'failed', error: { code: 'vault_timeout' } })
  release(held('key:2'))
  await loading
  t.equal(count('held'), ITEMS.length)
})

t.test('a vault that hangs is asked a few times, within one deadline', async (t) => {
  const clock = createManualClock()
  let asked = 0
  const { loader, count } = stage(async () => {
    asked += 1
    clock.pass(3 * SECOND_MS)
    return { kind: 'failed', error: new BrokerError('vault_timeout', 'no answer') }
  }, clock)
  await loader.load()
  t.ok(asked < 8, `asked ${asked} times`)
  t.equal(count('failed'), ITEMS.length)
})

t.test('reads a few at a time, and only what is not held', async (t) => {
  let now = 0
  let most = 0
  const asked: string[] = []
  const { loader, secrets } = stage(async (item) => {
    asked.push(item)
    now += 1
    most = Math.max(most, now)
    await turn()
    now -= 1
    return held(item)
  })
  secrets.set('key:0', held('key:0'))
  await loader.load()
  t.equal(asked.length, ITEMS.length - 1)
  t.ok(most > 1 && most <= 8, `${most} at once`)
})

t.test('what was read before a lock is not held after it; what was stored meanwhile stays', async (t) => {
  const releases: (() => void)[] = []
  const { loader, secrets, count } = stage(
    (item) => new Promise((resolve) => releases.push(() => resolve(held(item)))),
  )
  const loading = loader.load()
  secrets.set('key:1', { kind: 'held', secret: new Secret('newer'), apiUrl: 'https://x' })
  loader.interrupt()
  let isOver = false
  void loading.then(() => {
    isOver = true
  })
  while (!isOver) {
    for (const release of releases.splice(0)) release()
    await turn()
  }
  t.equal(count('held'), 1)
  const kept = secrets.get('key:1')
  t.equal(kept?.kind === 'held' && kept.secret.reveal(), 'newer')
})

t.test('retries after two seconds, joins a load under way, and loads again for who unlocked', async (t) => {
  const clock = createManualClock()
  let asked = 0
  const { loader } = stage(async (item) => {
    asked += 1
    await turn()
    return held(item)
  }, clock)
  const first = loader.load()
  t.equal(await loader.retry(), true, 'joined')
  await first
  t.equal(asked, ITEMS.length)
  t.equal(await loader.retry(), false, 'too soon')
  clock.pass(2001)
  t.equal(await loader.retry(), true)
})
