/** Which agent a process belongs to, by its ancestors, its control group and its environment. */
import t from 'tap'
import type { ProcessFacts } from '../../src/os/peer.js'
import { findInside } from '../../src/tokens/agents.js'

const AGENT = { id: 'a1b2c3d4e5f6', jobProcess: { pid: 50, process: 'boot 5000' } }
const plain = (pid: number, startedAt: number, more: Partial<ProcessFacts> = {}): ProcessFacts => ({
  ...{ pid, startedAt, parent: 1, name: 'sh', uid: 1000, tty: 0, group: '/user.slice/session-1.scope' },
  ...{ isSystemProgram: true, hasPlainArguments: true, isTraced: false },
  ...more,
})
const INIT = plain(1, 0, { group: '/init.scope' })
const RUN = plain(50, 5000)
const SCOPE = '/user.slice/user@1000.service/app.slice/prefect-auth-agent-a1b2c3d4e5f6.scope'

const table: readonly (readonly [what: string, chain: readonly ProcessFacts[], isInside: boolean])[] = [
  ['a child of agent run', [plain(60, 6000), RUN, INIT], true],
  ['a grandchild of it', [plain(61, 6100), plain(60, 6000), RUN, INIT], true],
  ['agent run itself, which ends the token', [RUN, INIT], false],
  ['a child of a later process with the same pid', [plain(60, 9000), plain(50, 8000), INIT], false],
  ['an orphan in its scope', [plain(60, 6000, { group: SCOPE }), INIT], true],
  ['one below a group of its scope', [plain(60, 6000, { group: `${SCOPE}/inner` }), INIT], true],
  [
    'a child, elsewhere, of one in its scope',
    [plain(61, 6100), plain(60, 6000, { group: SCOPE }), INIT],
    true,
  ],
  [
    'in the scope of an agent whose token is gone',
    [plain(60, 6000, { group: SCOPE.replace('a1', 'ff') }), INIT],
    true,
  ],
  ['in a group with a similar name', [plain(60, 6000, { group: `${SCOPE}.service` }), INIT], false],
  [
    'in a group that only ends so',
    [plain(60, 6000, { group: `/my-${SCOPE.split('/').at(-1)}` }), INIT],
    false,
  ],
  ['an orphan with its mark', [plain(60, 6000, { job: AGENT.id }), INIT], true],
  ['a child of one with its mark', [plain(61, 6100), plain(60, 6000, { job: AGENT.id }), INIT], true],
  ['one with the mark of another job', [plain(60, 6000, { job: 'ffffffffffff' }), INIT], false],
  ['a shell of the owner', [plain(60, 6000), plain(40, 400), INIT], false],
]
for (const [what, chain, isInside] of table) {
  t.test(`${what} is ${isInside ? 'inside' : 'outside'}`, async (t) => {
    t.equal(findInside(chain, [AGENT]) !== undefined, isInside)
  })
}

t.test('a process without agents is outside, but for a scope', async (t) => {
  t.equal(findInside([plain(60, 6000, { job: AGENT.id }), RUN], []), undefined)
  t.match(findInside([plain(60, 6000, { group: SCOPE })], []), { id: AGENT.id })
})
