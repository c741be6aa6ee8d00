/** What the vault is to delete, and what is given the same name meanwhile. */
import t from 'tap'
import { createKeyKeeper } from '../../src/keys/keeper.js'
import { createShareSecrets } from '../../src/share/secrets.js'
import { Secret } from '../../src/std/secret.js'
import { createManualClock } from '../fixtures/manual-clock.js'
import { memoryParts } from '../fixtures/memory-parts.js'

t.test('a secret that is put again while others are deleted is kept', async (t) => {
  const { vault, state, clock, times, log } = memoryParts(createManualClock())
  let isHanging = false
  let release = (): void => undefined
  const slow = {
    ...vault,
    async delete(item: string) {
      if (isHanging && item.endsWith(':first')) {
        await new Promise<void>((resolve) => {
          release = resolve
        })
      }
      await vault.delete(item)
    },
  }
  const keeper = createKeyKeeper({ vault: slow, ledger: state.ledger, clock, times, log })
  const secrets = createShareSecrets({ keeper, vault: slow })
  await secrets.put('first', new Secret('one'))
  await secrets.put('second', new Secret('two'))
  isHanging = true
  await state.ledger.update((ledger) => ({
    ...ledger,
    doomed: ['share-secret:first', 'share-secret:second'],
    shareSecrets: [],
  }))
  const burying = keeper.apply((ledger) => ledger)
  await new Promise((resolve) => setImmediate(resolve))
  isHanging = false
  await secrets.put('second', new Secret('three'))
  release()
  await burying
  t.ok((await vault.get('share-secret:second'))?.equals(new Secret('three')))
  t.equal(await vault.get('share-secret:first'), undefined)
  t.strictSame([state.ledger.read().doomed, secrets.list()], [undefined, ['second']])
})
