/** A read while the vault moves, held up until the old vault is removed. */
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { systemClock } from '../../src/std/clock.js'
import { silentLog } from '../../src/std/log.js'
import { Secret } from '../../src/std/secret.js'
import { createMovableVault } from '../../src/vault/movable.js'
import { openChosen } from '../../src/vault/open-chosen.js'

const ITEM = 'key:a'

t.test(
  'a read that began in the old vault, and comes to the disk after its removal, finds the item',
  async (t) => {
    t.testdir({})
    const open = (dir: 'vault-aaaaaaaa' | 'vault-bbbbbbbb') => {
      const store = `${dir.slice(-8)}-1111-4111-8111-111111111111`
      return openChosen(
        { backend: 'file', wrap: 'key-file', store, because: 'test', dir },
        {
          settings: { backend: 'file' },
          stateDir: t.testdirName,
          childPath: '/nowhere',
          execPath: '/nowhere',
          env: {},
          clock: systemClock(),
          log: silentLog(),
        },
      )
    }
    const [old, next] = [await open('vault-aaaaaaaa'), await open('vault-bbbbbbbb')]
    t.teardown(() => next.close())
    for (const vault of [old, next]) await vault.put(ITEM, new Secret('alpha'))
    let onRemoved = () => {}
    const removed = new Promise<void>((resolve) => {
      onRemoved = resolve
    })
    const vault = createMovableVault({
      first: {
        ...old,
        // A disk that is slow for this one read.
        async get(item) {
          await removed
          return old.get(item)
        },
      },
      move: async () => ({ vault: next, count: 1 }),
      async tidy() {
        await rm(join(t.testdirName, 'vault-aaaaaaaa'), { recursive: true })
        onRemoved()
      },
    })
    const read = vault.get(ITEM)
    await vault.move({ to: 'rekey' }, () => [ITEM])
    t.equal((await read)?.reveal(), 'alpha')
    t.equal((await vault.get(ITEM))?.reveal(), 'alpha')
  },
)
