/** The token that all processes of a Python environment share: given again, and stored nowhere. */

import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { BrokerError } from '../../src/base/errors.js'
import { openState } from '../../src/daemon/state.js'
import { DAY_MS } from '../../src/std/clock.js'
import { silentLog } from '../../src/std/log.js'
import type { Secret } from '../../src/std/secret.js'
import { createTokenSecret } from '../../src/tokens/derive.js'
import { createTokens } from '../../src/tokens/issue.js'
import { createManualClock } from '../fixtures/manual-clock.js'

const WORKSPACE = { accountId: 'a'.repeat(36), workspaceId: 'b'.repeat(36) }
const WANTED = { name: 'python', environment: '/home/me/.venv', profile: 'cloud', workspace: WORKSPACE }

async function setStage(t: Test) {
  const stateDir = t.testdir()
  const clock = createManualClock()
  const items = new Map<string, Secret>()
  const vault = {
    isLocked: false,
    get: async (item: string) => {
      if (vault.isLocked) throw new BrokerError('vault_locked', 'the vault is locked')
      return items.get(item)
    },
    put: async (item: string, value: Secret) => void items.set(item, value),
  }
  const randomToken = () => randomBytes(32).toString('base64url')
  const open = async () =>
    createTokens({
      document: (await openState({ stateDir, clock, log: silentLog() })).tokens,
      clock,
      randomToken,
      newId: () => randomBytes(6).toString('hex'),
      loadSecret: createTokenSecret({ vault, randomToken }),
    })
  return { tokens: await open(), open, clock, vault, items, file: join(stateDir, 'tokens.json') }
}

t.test(
  'the same for every process and after a restart; neither it nor its secret is in the file',
  async (t) => {
    const { tokens, open, items, file } = await setStage(t)
    const first = await tokens.shareInEnvironment(WANTED)
    t.match(first, { token: /^pab_[\w-]{43}$/, isNew: true, isDurable: true })
    t.match(tokens.recognise(first.token), {
      power: 'proxy',
      profiles: ['cloud'],
      isJob: true,
      workspace: WORKSPACE,
    })
    const again = await tokens.shareInEnvironment(WANTED)
    t.match(again, { token: first.token, facts: { id: first.facts.id }, isNew: false })
    const later = await open()
    t.ok(later.recognise(first.token))
    t.match(await later.shareInEnvironment(WANTED), { token: first.token, isNew: false })
    t.equal(later.list().length, 1)
    const text = readFileSync(file, 'utf8')
    const [secret] = [...items.values()]
    t.notOk(text.includes(first.token.slice(4)) || text.includes(secret?.reveal() ?? '-'))
    t.notMatch(JSON.stringify(later.list()), /environment|hash|pab_/)
  },
)

t.test('of processes that start at once, all get one token', async (t) => {
  const { tokens } = await setStage(t)
  const all = await Promise.all(Array.from({ length: 20 }, () => tokens.shareInEnvironment(WANTED)))
  t.equal(new Set(all.map(({ token }) => token)).size, 1)
  t.equal(all.filter(({ isNew }) => isNew).length, 1)
  t.equal(tokens.list().length, 1)
})

t.test('another one for another environment, profile or workspace', async (t) => {
  const { tokens } = await setStage(t)
  const given = [
    await tokens.shareInEnvironment(WANTED),
    await tokens.shareInEnvironment({ ...WANTED, environment: '/home/me/other' }),
    await tokens.shareInEnvironment({ ...WANTED, profile: 'staging' }),
    await tokens.shareInEnvironment({ ...WANTED, workspace: { ...WORKSPACE, workspaceId: 'c'.repeat(36) } }),
  ]
  t.equal(new Set(given.map(({ token }) => token)).size, 4)
  t.match(tokens.recognise(given[2]?.token ?? ''), { profiles: ['staging'] })
})

t.test(
  'a revoked, parked or long unused one is not given again, nor one whose secret was lost',
  async (t) => {
    const { tokens, open, clock, items } = await setStage(t)
    const revoked = await tokens.shareInEnvironment(WANTED)
    await tokens.revoke(revoked.facts.id)
    const second = await tokens.shareInEnvironment(WANTED)
    t.match(second, { isNew: true })
    t.equal(tokens.recognise(revoked.token), undefined)
    await tokens.parkJobs()
    const third = await tokens.shareInEnvironment(WANTED)
    t.match(third, { isNew: true })
    t.throws(() => tokens.recognise(second.token), { code: 'token_parked' })
    clock.pass(15 * DAY_MS)
    await tokens.age(15 * DAY_MS)
    const fourth = await tokens.shareInEnvironment(WANTED)
    t.match(fourth, { isNew: true })
    items.clear()
    const elsewhere = await open()
    t.match(await elsewhere.shareInEnvironment(WANTED), { isNew: true })
    t.ok(elsewhere.recognise(fourth.token), 'who has it keeps it')
  },
)

t.test('a locked vault refuses, and once it is open the token is given', async (t) => {
  const { tokens, vault } = await setStage(t)
  vault.isLocked = true
  await t.rejects(tokens.shareInEnvironment(WANTED), { code: 'vault_locked' })
  t.same(tokens.list(), [])
  vault.isLocked = false
  t.match(await tokens.shareInEnvironment(WANTED), { isNew: true })
})
