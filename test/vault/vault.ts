import t from 'tap'
import { Secret } from '../../src/std/secret.js'
import { proveVault, requireItemName, requireSmallValue } from '../../src/vault/vault.js'

const value = new Secret('probe')

/** A vault in memory, with one part replaced. */
function memory(broken: Partial<Parameters<typeof proveVault>[0]> = {}): Parameters<typeof proveVault>[0] {
  const items = new Map<string, Secret>()
  return {
    get: async (item) => items.get(item),
    put: async (item, secret) => void items.set(item, secret),
    delete: async (item) => void items.delete(item),
    ...broken,
  }
}

t.test('proves a working vault, and leaves nothing in it', async (t) => {
  const vault = memory()
  await proveVault(vault, 'probe', value)
  t.equal(await vault.get('probe'), undefined)
})

t.test('reports a vault that does something else than it says as unavailable', async (t) => {
  const liars = {
    'forgets what it is given': memory({ put: async () => undefined }),
    'gives back something else': memory({ get: async () => new Secret('other') }),
    'does not delete': memory({ delete: async () => undefined }),
  }
  for (const [name, vault] of Object.entries(liars)) {
    await t.rejects(proveVault(vault, 'probe', value), { code: 'vault_unavailable' }, name)
  }
})

t.test('limits names, and sizes in bytes', async (t) => {
  requireItemName('key:cloud-1_a')
  requireSmallValue('key', new Secret('ü'.repeat(4096)))
  for (const name of ['', 'KEY', 'key/..', 'key\n', 'x'.repeat(201)]) {
    t.throws(() => requireItemName(name), { code: 'internal' }, JSON.stringify(name))
  }
  t.throws(() => requireSmallValue('key', new Secret('ü'.repeat(4097))), {
    code: 'vault_value_too_large',
    message: /8194/,
  })
})
