/** The login state machine: what each event does in each state, and what no sequence of events can do. */
import fc from 'fast-check'
import t from 'tap'
import { BrokerError } from '../../src/base/errors.js'
import {
  isOver,
  type LoginEvent,
  type LoginRules,
  type LoginState,
  later,
  type Moment,
} from '../../src/login/state.js'
import { CHECK_PAUSES_MS, MAX_CHECKS, startLogin, stepLogin } from '../../src/login/step.js'
import { KEY, MALLORY, OTHER_KEY, OUTCOME, PROD, rules, STAGING, TERRY } from '../fixtures/login-parts.js'

const START: Moment = { wall: 1_000_000, mono: 500 }
const REJECTED = new BrokerError('key_rejected', 'Prefect does not accept this key')
const UNREACHABLE = new BrokerError('prefect_unreachable', 'Prefect did not answer')

const delivered = (key = KEY) => ({ kind: 'delivered', key }) as const
const checked = (check = 1, owner: typeof TERRY | typeof MALLORY = TERRY, workspaces = [PROD]) =>
  ({ kind: 'checked', check, owner, workspaces }) as const
const typed = (workspaces = [PROD]) =>
  ({ kind: 'typed', key: OTHER_KEY, exchange: false, owner: TERRY, workspaces }) as const
const yes = { kind: 'answered', accept: true } as const
const no = { kind: 'answered', accept: false } as const

/** The state after all events, at `START`, and the last step's refusal and effects. */
function play(loginRules: LoginRules, ...events: readonly LoginEvent[]) {
  let last: ReturnType<typeof stepLogin> = { state: startLogin(loginRules, START), effects: [] }
  for (const event of events) last = stepLogin(last.state, event, START)
  return last
}

t.test('stores a key from the browser once its owner is confirmed', async (t) => {
  const received = play(rules(), delivered())
  t.match(received, { state: { kind: 'received' }, effects: [{ kind: 'check', check: 1, afterMs: 0 }] })

  const verified = play(rules(), delivered(), checked())
  t.match(verified, { state: { kind: 'verified', claim: { isOwnerKnown: false } }, effects: [] })

  const confirmed = play(rules(), delivered(), checked(), yes)
  t.match(confirmed.effects, [{ kind: 'keep', claim: { via: 'browser', exchange: true }, workspace: PROD }])

  const stored = play(rules(), delivered(), checked(), yes, { kind: 'kept', outcome: OUTCOME })
  t.match(stored.state, { kind: 'stored', owner: TERRY, workspace: PROD, outcome: OUTCOME })
  t.notOk('claim' in stored.state, 'the key is gone')
})

t.test('stores a key of a known owner without asking', async (t) => {
  for (const known of [
    rules({ stored: TERRY }),
    rules({ wanted: 'TERRY@example.com' }),
    rules({ wanted: 'Terry' }),
    rules({ stored: MALLORY, wanted: 'terry', maySwitch: true }),
  ]) {
    t.match(play(known, delivered(), checked()), {
      state: { kind: 'confirmed' },
      effects: [{ kind: 'keep' }],
    })
  }
})

t.test('rejects a key of the wrong owner and keeps waiting', async (t) => {
  for (const strict of [
    rules({ stored: TERRY }),
    rules({ wanted: 'terry' }),
    rules({ stored: MALLORY, wanted: 'terry' }),
  ]) {
    const { state } = play(strict, delivered(), checked(1, MALLORY))
    t.match(state, { kind: 'waiting', refused: { key: 1 }, notice: /belongs to mallory/ })
  }
})

t.test('goes back to waiting with the full time after a key was declined', async (t) => {
  const verified = play(rules(), delivered(), checked()).state
  const now = later(START, 300_000)
  const { state } = stepLogin(verified, no, now)
  t.match(state, { kind: 'waiting', deadline: later(now, 120_000), notice: /terry .*declined/ })
})

t.test('goes back to waiting with the remaining time after junk', async (t) => {
  const received = stepLogin(startLogin(rules(), START), delivered(), later(START, 100_000)).state
  const now = later(START, 110_000)
  const { state } = stepLogin(received, { kind: 'check_failed', check: 1, error: REJECTED }, now)
  t.match(state, {
    kind: 'waiting',
    refused: { key: 1 },
    deadline: later(now, 20_000),
    notice: /does not accept/,
  })
})

t.test('checks at most five keys from the browser', async (t) => {
  let state = startLogin(rules(), START)
  for (let check = 1; check <= MAX_CHECKS; check += 1) {
    state = stepLogin(state, delivered(), START).state
    state = stepLogin(state, { kind: 'check_failed', check, error: REJECTED }, START).state
  }
  t.match(state, { kind: 'waiting', notice: /no more keys are accepted from the browser/ })
  t.match(stepLogin(state, delivered(), START), {
    state: { kind: 'waiting' },
    refusal: { code: 'login_state' },
  })
  t.match(stepLogin(state, typed(), START), { state: { kind: 'confirmed' } }, 'a typed key is still taken')
})

t.test('keeps a key that Prefect cannot verify now, and checks it again', async (t) => {
  let step = play(rules(), delivered())
  for (const afterMs of CHECK_PAUSES_MS) {
    step = stepLogin(step.state, { kind: 'check_failed', check: 1, error: UNREACHABLE }, START)
    t.match(step, {
      state: { kind: 'received', notice: /trying again/ },
      effects: [{ kind: 'check', check: 1, afterMs }],
    })
  }
  t.match(stepLogin(step.state, checked(), START).state, { kind: 'verified' })
  const given = stepLogin(step.state, { kind: 'check_failed', check: 1, error: UNREACHABLE }, START)
  t.match(given.state, { kind: 'waiting', notice: /did not answer/ })

  const busy = new BrokerError('prefect_rate_limited', 'too many requests', { retryAt: START.wall + 20_000 })
  const later20 = stepLogin(
    play(rules(), delivered()).state,
    { kind: 'check_failed', check: 1, error: busy },
    START,
  )
  t.match(later20.effects, [{ kind: 'check', afterMs: 20_000 }], 'not before Prefect allows it')
})

t.test('takes no other key during a check, and ignores the same key sent again', async (t) => {
  for (const before of [[delivered()], [delivered(), checked()]]) {
    t.match(play(rules(), ...before, delivered(OTHER_KEY)).refusal, { code: 'login_state' })
    t.equal(play(rules(), ...before, delivered(KEY)).refusal, undefined)
  }
  t.match(
    play(rules(), delivered(), checked(2)).state,
    { kind: 'received' },
    'ignores a late result for another key',
  )
})

t.test('takes a typed key without confirmation, and keeps waiting if it is refused', async (t) => {
  t.match(play(rules(), typed()).effects, [{ kind: 'keep', claim: { via: 'pasted', exchange: false } }])
  t.match(play(rules(), delivered(), typed()).state, { kind: 'confirmed', claim: { via: 'pasted' } })

  for (const [code, loginRules, workspaces] of [
    ['owner_mismatch', rules({ stored: MALLORY }), [PROD]],
    ['workspace_not_found', rules({ workspace: { wanted: 'acme/none' } }), [PROD]],
    ['workspace_none', rules(), []],
  ] as const) {
    const { state, refusal } = play(loginRules, typed([...workspaces]))
    t.match([state.kind, refusal?.code], ['waiting', code])
  }
})

t.test('chooses the workspace asked for, else the current one, else asks', async (t) => {
  const both = [PROD, STAGING]
  for (const [name, wish, expected] of [
    [
      'asked for',
      { wanted: 'acme/staging', currentId: PROD.workspaceId },
      { kind: 'confirmed', workspace: STAGING },
    ],
    ['current', { currentId: PROD.workspaceId }, { kind: 'confirmed', workspace: PROD }],
    ['neither', {}, { kind: 'verified', notice: /choose one/ }],
    ['one that is not there', { wanted: 'acme/none' }, { kind: 'verified', notice: /no such workspace/ }],
  ] as const) {
    const { state } = play(rules({ stored: TERRY, workspace: wish }), delivered(), checked(1, TERRY, both))
    t.match(state, expected, name)
  }
  const choosing = [delivered(), checked(1, TERRY, both)]
  t.match(play(rules(), ...choosing, yes).refusal, {
    code: 'workspace_required',
    hint: /acme\/prod, acme\/staging/,
  })
  t.match(play(rules(), ...choosing, { ...yes, workspace: 'acme/none' }).refusal, {
    code: 'workspace_not_found',
  })
  t.match(play(rules(), ...choosing, { ...yes, workspace: 'acme/staging' }).state, { workspace: STAGING })
})

t.test('fails for a known owner without workspaces, but not for a stranger', async (t) => {
  const none = [delivered(), checked(1, TERRY, [])]
  t.match(play(rules({ stored: TERRY }), ...none).state, {
    kind: 'failed',
    error: { code: 'workspace_none' },
  })
  t.match(play(rules(), ...none).state, { kind: 'waiting', notice: /no workspace/ })
})

t.test(
  'shows a failure that the page reports, made printable, and keeps waiting for the same time',
  async (t) => {
    const failed = {
      kind: 'page_failed',
      reason: `\u001b[2Jno\u202e pnu_secretsecret ${'x'.repeat(500)}`,
    } as const
    const { state } = play(rules(), failed)
    t.match(state, { kind: 'waiting', deadline: later(START, 120_000), refused: { failure: 1 } })
    const { notice = '' } = state
    t.match(notice, /'\[2Jno \[key\] x+…'/)
    t.ok(notice.length < 400)
    const flood = Array.from({ length: 50 }, (_, index) => ({ ...failed, reason: `again ${index}` }))
    t.match(play(rules(), ...flood).state, { kind: 'waiting', notice: /again 4/, refused: { failure: 50 } })
    t.match(play(rules(), failed, delivered(), checked()).state, { kind: 'verified' }, 'a key still counts')
    t.match(play(rules(), delivered(), failed), {
      state: { kind: 'received' },
      refusal: { code: 'login_state' },
    })
  },
)

t.test('expires by either clock, and says what was missing', async (t) => {
  for (const [name, now] of [
    ['both', later(START, 120_000)],
    ['the wall clock after a sleep', { wall: START.wall + 8 * 3_600_000, mono: START.mono + 1 }],
    ['the other clock when the wall was set back', { wall: 0, mono: START.mono + 120_000 }],
  ] as const) {
    const step = stepLogin(startLogin(rules(), START), delivered(), now)
    t.match(
      step,
      {
        state: { kind: 'expired', error: /no key was received within 2m/ },
        refusal: { code: 'login_expired' },
      },
      name,
    )
  }
  const verified = play(rules(), delivered(), checked()).state
  t.match(stepLogin(verified, yes, later(START, 600_000)).state, {
    error: /nobody confirmed its owner within 10m/,
  })
  const received = play(rules(), delivered()).state
  t.match(stepLogin(received, { kind: 'time' }, later(START, 600_000)).state, {
    error: /Prefect did not verify it within 10m/,
  })
})

t.test('tells a joining caller which of its wishes are ignored', async (t) => {
  const first = rules({ workspace: { wanted: 'acme/prod' } })
  const join = (request: object) => play(first, { kind: 'joined', request }).state.notice
  t.equal(join({}), undefined)
  t.equal(join({ workspace: 'acme/prod' }), undefined)
  t.match(join({ workspace: 'acme/staging' }), /joined.*acme\/staging/)
  t.match(join({ owner: 'mallory', switchOwner: true }), /mallory and a change of owner/)
})

t.test('cannot be cancelled while storing, and fails if storing fails', async (t) => {
  const storing = [delivered(), checked(), yes]
  t.match(play(rules(), ...storing, { kind: 'cancelled' }).refusal, { code: 'login_state' })
  const error = new BrokerError('vault_locked', 'storing the key failed: the keyring is locked')
  t.match(play(rules(), ...storing, { kind: 'not_kept', error }).state, { kind: 'failed', error })
})

// ── any sequence ────────────────────────────────────────────────────────────────────────────────────────────────────

const anyOwner = fc.constantFrom(TERRY, MALLORY)
const anyWorkspaces = fc.constantFrom([], [PROD], [PROD, STAGING])
const anyCheck = fc.integer({ min: 1, max: 7 })
const anyEvent: fc.Arbitrary<LoginEvent> = fc.oneof(
  fc.record({ kind: fc.constant('delivered'), key: fc.constantFrom(KEY, OTHER_KEY) }),
  fc.record({ kind: fc.constant('checked'), check: anyCheck, owner: anyOwner, workspaces: anyWorkspaces }),
  fc.record({
    kind: fc.constant('check_failed'),
    check: anyCheck,
    error: fc.constantFrom(REJECTED, UNREACHABLE),
  }),
  fc.record({
    kind: fc.constant('typed'),
    key: fc.constant(OTHER_KEY),
    exchange: fc.boolean(),
    isFromBrowser: fc.boolean(),
    owner: anyOwner,
    workspaces: anyWorkspaces,
  }),
  fc.record({
    kind: fc.constant('answered'),
    accept: fc.boolean(),
    workspace: fc.constantFrom('acme/prod', 'acme/none'),
  }),
  fc.constantFrom(yes, no, { kind: 'time' } as const, { kind: 'refused', why: 'host' } as const),
  fc.constantFrom(
    { kind: 'kept', outcome: OUTCOME } as const,
    { kind: 'not_kept', error: UNREACHABLE } as const,
  ),
  fc.constantFrom({ kind: 'joined', request: { workspace: 'x' } } as const),
  fc.record({ kind: fc.constant('page_failed'), reason: fc.string() }),
  fc.record({
    kind: fc.constant('late'),
    key: fc.constant(OTHER_KEY),
    owner: anyOwner,
    workspaces: anyWorkspaces,
  }),
  fc.constant({ kind: 'cancelled' }),
)
const anyRules = fc
  .record({
    stored: fc.option(anyOwner, { nil: undefined }),
    wanted: fc.option(fc.constantFrom('terry', 'mallory@evil.example'), { nil: undefined }),
    maySwitch: fc.boolean(),
  })
  .map(({ stored, wanted, maySwitch }) =>
    rules({ maySwitch, ...(stored ? { stored } : {}), ...(wanted === undefined ? {} : { wanted }) }),
  )
const anyLife = fc.array(fc.tuple(anyEvent, fc.nat({ max: 40_000 })), { minLength: 1, maxLength: 60 })

t.test('keeps its invariants for any sequence of events', async (t) => {
  const seen = new Set<string>()
  fc.assert(
    fc.property(anyRules, anyLife, (loginRules, life) => {
      let now = START
      let state = startLogin(loginRules, now)
      let checks = 0
      for (const [event, ms] of life) {
        now = later(now, ms)
        const before = state
        const { state: next, effects } = stepLogin(before, event, now)
        seen.add(`${before.kind} → ${next.kind}`)
        if (isOver(before) && next !== before) return false
        if (before.kind !== 'received' && next.kind === 'received') checks += 1
        if (
          effects.some(({ kind }) => kind === 'keep') !==
          (next.kind === 'confirmed' && before.kind !== 'confirmed')
        ) {
          return false
        }
        if (next.kind === 'stored' && before.kind !== 'stored' && before.kind !== 'confirmed') return false
        if (next.kind === 'confirmed' && before.kind !== 'confirmed' && !mayConfirm(before, event, next))
          return false
        const isJunk =
          event.kind === 'delivered' ||
          event.kind === 'refused' ||
          event.kind === 'page_failed' ||
          event.kind === 'check_failed'
        if (isJunk && !isOver(before) && isOver(next) && next.kind !== 'expired') return false
        if (isOver(next) && ('key' in next || 'claim' in next)) return false
        state = next
      }
      return checks <= MAX_CHECKS
    }),
    { numRuns: 5_000 },
  )
  // Without these transitions the property would hold trivially.
  for (const walk of [
    'waiting → received',
    'received → waiting',
    'received → verified',
    'received → confirmed',
    'verified → confirmed',
    'verified → waiting',
    'waiting → confirmed',
    'confirmed → stored',
    'confirmed → failed',
    'waiting → expired',
  ]) {
    t.ok(seen.has(walk), walk)
  }
})

/** A confirmation of a verified claim, a person's own key, or a known owner's key that Prefect just accepted. */
function mayConfirm(before: LoginState, event: LoginEvent, next: LoginState): boolean {
  if (next.kind !== 'confirmed') return false
  const { owner } = next.claim
  const { stored, wanted, maySwitch } = next.rules.owner
  const isStored = stored?.id === owner.id
  const isWanted =
    wanted === undefined ? false : [owner.handle, owner.kind === 'user' ? owner.email : ''].includes(wanted)
  if (stored && !isStored && !maySwitch) return false
  if (wanted !== undefined && !isWanted) return false
  if (event.kind === 'answered') return before.kind === 'verified' && event.accept
  if (event.kind === 'typed')
    return event.key === next.claim.key && (!event.isFromBrowser || isStored || isWanted)
  const isOfBrowser =
    event.kind === 'late' ? before.kind === 'waiting' : event.kind === 'checked' && before.kind === 'received'
  return isOfBrowser && (isStored || isWanted)
}
