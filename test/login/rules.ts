/** Which owner and which workspace a login accepts. */
import t from 'tap'
import { joinNotice, judgeOwner, nameOwner, planWorkspace, resolveAnswer } from '../../src/login/rules.js'
import { MALLORY, PROD, rules, STAGING, TERRY } from '../fixtures/login-parts.js'

const BOT = { kind: 'service_account', id: 'b', handle: 'terry' } as const

t.test('accepts the stored or wanted owner, asks about unknown ones, refuses others', async (t) => {
  for (const [name, owner, rule, expected] of [
    ['nothing is known', TERRY, {}, 'unknown'],
    ['the stored one', TERRY, { stored: TERRY }, 'known'],
    ['another than stored', MALLORY, { stored: TERRY }, 'refused'],
    ['another, switching', MALLORY, { stored: TERRY, maySwitch: true }, 'unknown'],
    ['the wanted email', TERRY, { wanted: 'Terry@Example.com' }, 'known'],
    ['the wanted handle', TERRY, { wanted: ' TERRY ' }, 'known'],
    ['not the wanted one', MALLORY, { wanted: 'terry' }, 'refused'],
    ['not the wanted one, switching', MALLORY, { wanted: 'terry', maySwitch: true }, 'refused'],
    ['wanted, but another is stored', TERRY, { stored: MALLORY, wanted: 'terry' }, 'refused'],
    ['wanted and switching', TERRY, { stored: MALLORY, wanted: 'terry', maySwitch: true }, 'known'],
    [
      'an email as handle',
      { ...MALLORY, handle: 'terry@example.com' },
      { wanted: 'terry@example.com' },
      'refused',
    ],
    [
      'a look-alike with a hidden character',
      { ...MALLORY, handle: 'ter\u200bry' },
      { wanted: 'terry' },
      'refused',
    ],
    ['an account named like the user', BOT, { wanted: 'terry' }, 'unknown'],
    ['the stored account', BOT, { stored: BOT }, 'known'],
    ['an account with the id of the user', { ...BOT, id: TERRY.id }, { stored: TERRY }, 'refused'],
  ] as const) {
    t.equal(judgeOwner(owner, rules(rule).owner).kind, expected, name)
  }
})

t.test('names owners without control characters', async (t) => {
  t.equal(nameOwner(TERRY), 'terry <terry@example.com>')
  t.equal(nameOwner({ ...TERRY, handle: 'x\u001b[31m\u202ey' }), 'x [31m y <terry@example.com>')
  t.equal(nameOwner(BOT), 'a service account of terry')
})

t.test('plans the wanted workspace, else the only one, else the current one', async (t) => {
  const both = [PROD, STAGING]
  for (const [name, workspaces, wish, expected] of [
    ['none', [], {}, 'workspace_none'],
    ['the only one', [PROD], {}, PROD],
    ['the wanted one', both, { wanted: 'acme/staging', currentId: PROD.workspaceId }, STAGING],
    ['a wanted one that does not exist', [PROD], { wanted: 'acme/none' }, 'workspace_not_found'],
    ['the current one', both, { currentId: STAGING.workspaceId }, STAGING],
    ['a current one that is out of reach', both, { currentId: 'x' }, 'workspace_required'],
    ['several and no wish', both, {}, 'workspace_required'],
  ] as const) {
    const { workspace, problem } = planWorkspace(workspaces, wish)
    t.equal(workspace ?? problem?.code, expected, name)
  }
})

t.test('takes the workspace that the answer names, else the planned one', async (t) => {
  const workspaces = [PROD, STAGING]
  for (const [name, claim, wanted, expected] of [
    ['the named one', { workspaces, workspace: PROD }, 'acme/staging', STAGING],
    ['the planned one', { workspaces, workspace: PROD }, undefined, PROD],
    ['one that does not exist', { workspaces, workspace: PROD }, 'acme/none', 'workspace_not_found'],
    ['neither', { workspaces }, undefined, 'workspace_required'],
  ] as const) {
    const { workspace, problem } = resolveAnswer(claim, wanted)
    t.equal(workspace ?? problem?.code, expected, name)
  }
})

t.test('names exactly the wishes of a joining caller that are ignored', async (t) => {
  const settings = rules({ wanted: 'terry', workspace: { wanted: 'acme/prod' } })
  for (const [request, expected] of [
    [{}, undefined],
    [{ workspace: 'ACME/prod', owner: 'Terry' }, undefined],
    [{ workspace: 'acme/staging' }, /asked for workspace acme\/staging;/],
    [{ owner: "o'hara" }, /asked for owner 'o'\\''hara';/],
    [{ owner: 'mallory', switchOwner: true }, /owner mallory and a change of owner;/],
  ] as const) {
    t.match(joinNotice(request, settings), expected, JSON.stringify(request))
    t.equal(joinNotice(request, settings) === undefined, expected === undefined)
  }
})
