/** A login as its callers see it. */
import t from 'tap'
import { viewLogin } from '../../src/login/view.js'
import { KEY, PROD, rules, TERRY } from '../fixtures/login-parts.js'

const LABEL = { id: '1', profile: 'cloud', version: 3, url: 'https://app.prefect.cloud/x', expiresAt: 5 }
const COMMON = { rules: rules(), checks: 1, refused: { origin: 1, key: 1 } }
const DEADLINE = { wall: 5, mono: 5 }

t.test('shows whose key is waiting for confirmation, but not the key', async (t) => {
  const owner = { ...TERRY, handle: 'ter\u202e\u001b[2Jry' }
  const claim = {
    key: KEY,
    via: 'browser',
    exchange: true,
    owner,
    isOwnerKnown: false,
    workspaces: [PROD],
  } as const
  const view = viewLogin(LABEL, { ...COMMON, kind: 'verified', claim, deadline: DEADLINE })
  t.match(view, {
    ...LABEL,
    state: 'verified',
    refused: 2,
    refusedBy: { origin: 1, key: 1 },
    workspaces: [PROD],
    isOwnerKnown: false,
  })
  t.equal(view.owner?.handle, 'ter [2Jry', 'without control characters')
  t.notOk(Object.values(view).includes(KEY))
})

t.test('shows the URL while a key can still come', async (t) => {
  t.equal(viewLogin(LABEL, { ...COMMON, kind: 'waiting', deadline: DEADLINE }).url, LABEL.url)
  t.equal(viewLogin(LABEL, { ...COMMON, kind: 'cancelled' }).url, undefined)
})
