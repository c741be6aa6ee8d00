import t from 'tap'
import { isBrokerError } from '../../src/base/errors.js'
import type { Workspace } from '../../src/prefect/cloud.js'
import { findWorkspace, parseWorkspaceReference } from '../../src/prefect/workspaces.js'

const A = '9b649228-0419-40e1-9e0d-44954b5c0ab6'
const W = 'd137367a-5055-44ff-b91c-6f7366c9e4c4'
const W2 = '00000000-0000-4000-8000-000000000002'
const ids = { kind: 'ids', accountId: A, workspaceId: W }

const references: [text: string, expected: object][] = [
  ['prefect/terry', { kind: 'handles', accountHandle: 'prefect', workspaceHandle: 'terry' }],
  [' prefect/terry \n', { kind: 'handles', accountHandle: 'prefect', workspaceHandle: 'terry' }],
  ['terry', { kind: 'handle', workspaceHandle: 'terry' }],
  [`${A}/${W}`, ids],
  [`${A.toUpperCase()}/${W}`, ids],
  [W.toUpperCase(), { kind: 'workspace_id', workspaceId: W }],
  [`https://api.prefect.cloud/api/accounts/${A}/workspaces/${W}`, ids],
  [`https://api.prefect.cloud/api/accounts/${A}/workspaces/${W}/`, ids],
  [`https://app.prefect.cloud/account/${A}/workspace/${W}`, ids],
  [`https://app.prefect.cloud/account/${A}/workspaces/${W}`, ids],
  [`https://app.prefect.cloud/account/${A}/workspace/${W}/dashboard`, ids],
  [`https://app.prefect.cloud/account/${A}/workspace/${W}/runs/flow-run/${W2}?entity_id=${W2}`, ids],
  [`https://app.prefect.cloud/account/${A}/workspace/${W}/work-pools/work-pool/my%20pool#top`, ids],
  [`app.prefect.cloud/account/${A}/workspace/${W}?x=1`, ids],
  [`http://127.0.0.1:4322/account/${A}/workspace/${W}/flows`, ids],
  [`https://app.prefect.cloud/account/${A}/settings`, { kind: 'other_page' }],
  ['https://app.prefect.cloud/my/api-keys', { kind: 'other_page' }],
  ['', { kind: 'unreadable' }],
  ['a/b/c', { kind: 'unreadable' }],
  ['a/', { kind: 'unreadable' }],
  ['a b/c', { kind: 'unreadable' }],
  ['a/b\u001b[31m', { kind: 'unreadable' }],
]

t.test('every form that a person may paste', async (t) => {
  for (const [text, expected] of references) {
    t.strictSame(parseWorkspaceReference(text), expected, JSON.stringify(text))
  }
})

function workspace(account: string, handle: string, accountId: string, workspaceId: string): Workspace {
  return { accountId, accountHandle: account, workspaceId, workspaceHandle: handle }
}

const terry = workspace('prefect', 'terry', A, W)
const all = [terry, workspace('prefect', 'prod', A, W2), workspace('acme', 'prod', W2, A)]

t.test('finds by handles, ids, id, unique handle and page', async (t) => {
  for (const text of [
    'prefect/terry',
    `${A}/${W}`,
    W,
    'terry',
    `https://app.prefect.cloud/account/${A}/workspace/${W}/runs`,
  ]) {
    t.equal(findWorkspace(all, text), terry, text)
  }
  t.equal(findWorkspace(all, 'acme/prod'), all[2])
})

const failures: [text: string, message: RegExp][] = [
  ['prefect/nobody', /this key reaches no such workspace/],
  [`${W}/${A}`, /this key reaches no such workspace/],
  ['prod', /several accounts have one of this name/],
  ['https://app.prefect.cloud/my/profile', /this URL names no workspace/],
  ['a/b/c', /not a handle, an id or the URL/],
]

t.test('lists the available workspaces if none is found', async (t) => {
  for (const [text, message] of failures) {
    const error = refusal(all, text)
    t.match(error.message, message)
    t.match(error.hint, /available: acme\/prod, prefect\/prod, prefect\/terry$/)
  }
  const many = Array.from({ length: 13 }, (_, index) => workspace('a', `w${10 + index}`, A, W2))
  t.match(refusal(many, 'x').hint, /a\/w19 and 3 more$/)
  t.match(refusal([], 'x').hint, /reaches no workspace/)
})

function refusal(workspaces: readonly Workspace[], text: string) {
  try {
    findWorkspace(workspaces, text)
  } catch (error) {
    if (isBrokerError(error, 'workspace_not_found')) return error
    throw error
  }
  throw new Error(`${text} was found`)
}
