/** Who has asked a question: how often and how many are looked at. */
import { Socket } from 'node:net'
import t from 'tap'
import { createWitness } from '../../src/asks/witness.js'
import { createManualClock } from '../fixtures/manual-clock.js'

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
