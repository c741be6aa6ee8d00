/** What a machine of a fleet does next: one situation a row. */
import t from 'tap'
import {
  type Intent,
  type KeyMark,
  readDocument,
  type ShareDocument,
  writeDocument,
} from '../../src/share/document.js'
import { apartMs, leastOverlapMs, stalenessMs, turnMs, waitMs } from '../../src/share/pace.js'
import { dueAt, plan, type Step } from '../../src/share/plan.js'
import { newView, type View } from '../../src/share/view.js'
import { Secret } from '../../src/std/secret.js'

const MINUTE = 60_000
const HOUR = 60 * MINUTE
const DAY = 24 * HOUR
/** Prefect's time when the current key was made. */
const MADE = 1_700_000_000_000
const pace = { everyMs: MINUTE, overlapMs: DAY, lifeMs: 30 * DAY }
const key = (id: string, createdAt: number): KeyMark => ({ id, createdAt, expiresAt: createdAt + 30 * DAY })
const k1 = key('k1', MADE - 10 * DAY)
const k2 = key('k2', MADE)
const k3 = key('k3', MADE + DAY)
const key3 = (index: number) => key(`stranger${index}`, MADE - index)
const held2 = { ...k2, n: 2 }
const intent = (machine: string, at: number): Intent => ({ machine, nonce: `${machine}-${at}`, at })

const shared = (change: Partial<ShareDocument> = {}): ShareDocument => ({
  n: 2,
  apiUrl: 'https://api.prefect.cloud/api',
  accountId: 'a',
  serviceAccount: { id: 's', name: 'fleet' },
  pace,
  current: k2,
  previous: k1,
  abandoned: [],
  foreign: [],
  ...change,
})

/** The machine's monotonic clock in every row. */
const NOW = 10 * DAY
const DUE = Math.ceil(dueAt(shared(), 'me'))

interface Situation {
  readonly document?: ShareDocument
  /** For how long the document has been the same. */
  readonly stoodMs?: number
  readonly newest?: KeyMark
  /** Since when Prefect has told this key, by our clock. */
  readonly toldForMs?: number
  readonly asOf?: number
  readonly view?: Partial<View>
  readonly lacks?: 'held' | 'told'
  readonly intents?: readonly Intent[]
}

function decide({ document = shared(), stoodMs = DAY, view = {}, ...situation }: Situation): Step {
  const { newest = document.current, toldForMs = DAY, asOf = MADE + HOUR, intents, lacks } = situation
  const { claim, abandoned } = document
  const base = newView({ machine: 'me', mayRotate: true, held: held2, kept: [], intents: [] })
  const all: View = {
    ...base,
    pass: { startedAt: NOW - 10, nonce: 'mine', hasFailed: [], conflicts: 0 },
    seen: { document, version: '7', since: NOW - stoodMs, readAt: NOW - 5 },
    told: { newest, asOf, askedAt: NOW - 1, since: NOW - toldForMs },
    intents: intents ?? [...abandoned, claim ?? []].flat(),
    accepted: ['k2'],
    ...view,
  }
  if (lacks === undefined) return plan(all, NOW)
  const { [lacks]: _, ...rest } = all
  return plan(rest, NOW)
}

const lost = {
  newest: k3,
  asOf: k3.createdAt + HOUR,
  document: shared({ claim: intent('other', k3.createdAt - 1000) }),
}
const stranger = { newest: k3, asOf: k3.createdAt + HOUR }
const mine = { claim: { nonce: 'me-1', startedAt: NOW - 1000 }, accepted: ['k2'] }
const myTurn = shared({ claim: { machine: 'me', nonce: 'me-1', at: DUE } })

const ROWS: readonly (readonly [title: string, Situation, expected: Readonly<Record<string, unknown>>])[] = [
  ['rests while nothing is due', {}, { do: 'rest', standing: 'idle' }],
  [
    'reads the store once a pass',
    { view: { pass: { startedAt: NOW, nonce: '', hasFailed: [], conflicts: 0 } } },
    { do: 'read' },
  ],
  [
    'goes on with what it has if the store does not answer',
    { view: { pass: { startedAt: NOW, nonce: '', hasFailed: ['read'], conflicts: 0 } } },
    { do: 'rest', standing: 'unread' },
  ],
  [
    'gives up a pass in which others write all the time',
    { view: { pass: { startedAt: NOW, nonce: '', hasFailed: [], conflicts: 6 } } },
    { do: 'rest', standing: 'unread' },
  ],
  ['takes a newer key', { view: { held: { ...k1, n: 1 } } }, { do: 'take' }],
  ['takes the first key', { lacks: 'held' }, { do: 'take' }],
  [
    'takes no older key: the store went back in time',
    { document: shared({ n: 1, current: k1 }), view: { refused: [] } },
    { do: 'write', why: 'publish' },
  ],
  [
    'takes an older number if its key is newer',
    { document: shared({ n: 1, current: k3 }), newest: k3 },
    { do: 'take' },
  ],
  [
    'takes an older key if Prefect refuses its own',
    { document: shared({ n: 1, current: k1, previous: k1 }), view: { refused: ['k2'], accepted: [] } },
    { do: 'take', key: { ...k1, n: 1 } },
  ],
  [
    'serves the key before if Prefect refuses the current one',
    { view: { refused: ['k2'] } },
    { do: 'take', key: { ...k1, n: 1 } },
  ],
  ['keeps its key if both are refused', { view: { refused: ['k2', 'k1'], accepted: [] } }, { do: 'rest' }],
  [
    'does not ask Prefect on a machine that may not rotate',
    { view: { mayRotate: false }, lacks: 'told' },
    { do: 'rest', standing: 'idle' },
  ],
  ['asks Prefect for its newest key', { lacks: 'told' }, { do: 'ask' }],
  ['claims its turn if the key is due', { asOf: DUE }, { do: 'write', why: 'claim' }],
  ['claims it when a person wants it', { view: { isWanted: true } }, { do: 'write', why: 'claim' }],
  [
    'waits until every machine has the last key',
    { asOf: DUE, stoodMs: stalenessMs(pace) - 1 },
    { do: 'rest', standing: 'waiting' },
  ],
  [
    "waits for another's turn",
    { asOf: DUE, stoodMs: waitMs(pace) - 1, document: shared({ claim: intent('other', DUE) }) },
    { do: 'rest', standing: 'waiting' },
  ],
  [
    'takes over a turn that stood still',
    { asOf: DUE, stoodMs: waitMs(pace), document: shared({ claim: intent('other', DUE) }) },
    { do: 'write', why: 'claim' },
  ],
  [
    "waits for its own turn of before a restart as for another's",
    { asOf: DUE, stoodMs: 0, document: myTurn },
    { do: 'rest', standing: 'waiting' },
  ],
  [
    'mints in its turn',
    { document: myTurn, view: mine, stoodMs: 0 },
    { do: 'mint', overlapMs: DAY, lifeMs: 30 * DAY },
  ],
  [
    'does not mint after its turn, by its own monotonic clock',
    { document: myTurn, view: { ...mine, claim: { nonce: 'me-1', startedAt: NOW - turnMs(pace) - 1 } } },
    { do: 'write', why: 'release' },
  ],
  [
    'gives its turn back if certainly nothing was minted',
    { document: myTurn, view: { ...mine, claim: { nonce: 'me-1', startedAt: NOW, isOver: true } } },
    { do: 'write', why: 'release' },
  ],
  [
    'holds back after a failure',
    { asOf: DUE, view: { notBefore: NOW + 1 } },
    { do: 'rest', standing: 'held_back' },
  ],
  [
    'does not hold back past the moment by which the next mint must come',
    { ...lost, document: { ...lost.document, mintBy: lost.asOf }, view: { notBefore: NOW + 1 } },
    { do: 'write', why: 'claim' },
  ],
  [
    'does not believe one reading of a newer key',
    { ...lost, toldForMs: apartMs(pace) - 1 },
    { do: 'rest', standing: 'astray' },
  ],
  ['mints over a lost key after two readings', lost, { do: 'write', why: 'claim' }],
  [
    'does not mint if Prefect tells of an older key: the answer is old',
    { newest: k1, asOf: DUE },
    { do: 'rest', standing: 'stale' },
  ],
  ['verifies a minted key before it is published', { view: { kept: [k3] } }, { do: 'verify', id: 'k3' }],
  [
    'publishes a minted key',
    { view: { kept: [k3], accepted: ['k2', 'k3'] } },
    { do: 'write', why: 'publish' },
  ],
  [
    'publishes the key that it serves if the store has forgotten it',
    { document: shared({ current: k1 }) },
    { do: 'write', why: 'publish' },
  ],
  [
    'keeps a minted key until a newer one is published and verified',
    { view: { kept: [k1], accepted: [] } },
    { do: 'verify', id: 'k2' },
  ],
  ['drops it then', { view: { kept: [k1] } }, { do: 'drop', id: 'k1', isPublished: false }],
  [
    'drops it once it has expired',
    { asOf: MADE + 100 * DAY, view: { kept: [k3], refused: ['k3'] } },
    { do: 'drop', id: 'k3' },
  ],
  [
    'notes that its minted key is published',
    { view: { kept: [k2] } },
    { do: 'drop', id: 'k2', isPublished: true },
  ],
  [
    'mints no second key while Prefect does not accept the first',
    { newest: k3, view: { kept: [k3], refused: ['k3'] } },
    { do: 'rest', standing: 'unverified' },
  ],
  ["notes a stranger's key", stranger, { do: 'write', why: 'foreign' }],
  [
    "does not mint over a stranger's key",
    { ...stranger, document: shared({ foreign: [k3] }) },
    { do: 'rest', standing: 'foreign' },
  ],
  [
    'mints over it when a person wants it',
    { ...stranger, document: shared({ foreign: [k3] }), view: { isWanted: true } },
    { do: 'write', why: 'claim' },
  ],
  [
    "takes a key for a stranger's if no intent was near when it was made",
    { ...stranger, document: shared({ claim: intent('other', k3.createdAt - 12 * HOUR) }) },
    { do: 'write', why: 'foreign' },
  ],
  [
    'stops rotating after two strangers in a row',
    { asOf: DUE, document: shared({ foreign: [k1, k2] }) },
    { do: 'rest', standing: 'second_owner' },
  ],
  [
    'goes on when a person wants it',
    { asOf: DUE, document: shared({ foreign: [k1, k2] }), view: { isWanted: true } },
    { do: 'write', why: 'claim' },
  ],
]

t.test('a machine decides by what it knows', async (t) => {
  for (const [title, situation, expected] of ROWS) t.match(decide(situation), expected, title)
})

t.test('every document that a machine writes is one that the others read', async (t) => {
  const key = new Secret(`pnb_${'k'.repeat(36)}`)
  const strangers = Array.from({ length: 100 }, (_, index) => key3(index))
  const rows: typeof ROWS = [
    ...ROWS,
    ['a third that is no whole number', { ...lost, asOf: lost.asOf + 1 }, {}],
    ['the hundredth stranger', { ...stranger, document: shared({ foreign: strangers }) }, {}],
  ]
  let written = 0
  for (const [title, situation] of rows) {
    const step = decide(situation)
    if (step.do !== 'write') continue
    const data: unknown = JSON.parse(JSON.stringify(writeDocument(step.document, () => key)))
    t.strictSame(readDocument(data, 'the store').document, step.document, title)
    written += 1
  }
  t.ok(written > 10)
})

t.test('a document that the others would not read is not written', async (t) => {
  const key = new Secret(`pnb_${'k'.repeat(36)}`)
  const wrong = shared({ current: { ...k2, createdAt: k2.createdAt + 0.5 } })
  t.throws(() => writeDocument(wrong, () => key), /no machine would read: current\.created$/)
})

t.test('a claim after a lost answer names the moment by which the next mint must come', async (t) => {
  const step = decide(lost)
  const endsAt = k3.createdAt + DAY
  t.match(step, {
    document: {
      claim: { machine: 'me', nonce: 'mine', at: lost.asOf },
      abandoned: [{ machine: 'other' }],
      current: { id: 'k2', endsAt },
      mintBy: lost.asOf + (endsAt - lost.asOf) / 3,
    },
  })
})

t.test('a publication counts on, ends the turn and says how long the key before lives', async (t) => {
  const document = shared({ claim: intent('me', k3.createdAt - 1), foreign: [k1], mintBy: 1 })
  const step = decide({ document, view: { kept: [k3], accepted: ['k3'] } })
  t.match(step, {
    do: 'write',
    document: {
      n: 3,
      current: k3,
      previous: { ...k2, endsAt: k3.createdAt + DAY },
      abandoned: [],
      foreign: [],
    },
  })
  t.notOk('document' in step && ('claim' in step.document || 'mintBy' in step.document))
})

t.test("a late publication keeps another's turn in mind: what it mints is no stranger's key", async (t) => {
  const other = intent('other', k3.createdAt + 1)
  const step = decide({ document: shared({ claim: other }), view: { kept: [k3], accepted: ['k3'] } })
  t.match(step, { document: { current: k3, abandoned: [other] } })
})

t.test('the key of a forgotten publication keeps its number, or a higher one', async (t) => {
  const view = { held: { ...k3, n: 9 }, accepted: ['k3'] }
  t.match(decide({ view }), { document: { n: 9, current: k3 } })
  t.match(decide({ document: shared({ n: 20 }), view }), { document: { n: 21 } })
})

t.test('the least overlap is about an hour for a read a minute', async (t) => {
  const hours = leastOverlapMs({ everyMs: MINUTE }) / HOUR
  t.ok(hours > 1 && hours < 1.5, `${hours}`)
})
