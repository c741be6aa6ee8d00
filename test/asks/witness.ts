/** Who has asked a question: as far as it is known, and how often it is looked at. */
import { Socket } from 'node:net'
import t from 'tap'
import { createWitness } from '../../src/asks/witness.js'
import type { Peer } from '../../src/os/peer.js'
import { readPeer } from '../../src/os/peer.js'
import { createManualClock } from '../fixtures/manual-clock.js'

const ENDED: Peer = { seenAt: 1, chain: [], shown: 'a program that has ended' }

async function peersOf(asker: Peer | undefined, roots: readonly Promise<Peer | undefined>[]) {
  const witness = createWitness({
    ...{ clock: createManualClock(), findPeer: async () => asker, findCaller: async () => undefined },
  })
  witness.see(new Socket())
  for (const root of roots) witness.addRoot(root)
  return witness.peers()
}

t.test('the first process of a job is judged beside the one that asks', async (t) => {
  const [self, parent] = await Promise.all([readPeer(process.pid), readPeer(process.ppid)])
  t.strictSame(await peersOf(self, [Promise.resolve(parent)]), [self, parent])
})

t.test('it does not make up for an asker that cannot be told', async (t) => {
  const root = await readPeer(process.ppid)
  t.strictSame(await peersOf(undefined, [Promise.resolve(root)]), [undefined, root])
  t.strictSame(await peersOf(ENDED, [Promise.resolve(root)]), [ENDED, root])
})

t.test('one that has ended, or cannot be looked at, says nothing', async (t) => {
  const self = await readPeer(process.pid)
  const gone = [Promise.resolve(ENDED), Promise.resolve(undefined), Promise.reject(new Error('no'))]
  t.strictSame(await peersOf(self, gone), [self])
})

t.test('looks do not pile up while one takes long', async (t) => {
  const clock = createManualClock(0)
  const done: (() => void)[] = []
  const findPeer = async () => {
    await new Promise<void>((resolve) => done.push(resolve))
    return { seenAt: 0, chain: [], shown: `program ${done.length}` }
  }
  const witness = createWitness({ clock, findPeer, findCaller: async () => undefined })
  for (let at = 0; at < 50; at += 1) {
    witness.see(new Socket())
    clock.pass(1_000)
  }
  t.equal(done.length, 1, 'one is under way')
  done.shift()?.()
  t.match(await witness.peers(), [{ shown: 'program 0' }], 'whoever answers waits for this one alone')
  clock.pass(1_000)
  witness.see(new Socket())
  t.equal(done.length, 1, 'the next one is looked at')
  done.shift()?.()
  await witness.peers()
  t.same(witness.shown(), ['program 0'])
})
