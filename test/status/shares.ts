import t from 'tap'
import { BrokerError } from '../../src/base/errors.js'
import type { ShareFacts } from '../../src/share/shares.js'
import type { StoreFinding } from '../../src/share/store.js'
import { judgeShare, planShareExamination } from '../../src/status/shares.js'

const DAY = 86_400_000
const DOCUMENT: NonNullable<ShareFacts['document']> = {
  ...{
    n: 1,
    apiUrl: 'https://api.prefect.cloud/api',
    accountId: 'a',
    serviceAccount: { id: 's', name: 'fleet' },
  },
  pace: { everyMs: 60_000, overlapMs: DAY, lifeMs: 30 * DAY },
  ...{ current: { id: 'k', createdAt: 1 }, abandoned: [], foreign: [] },
}
const facts: ShareFacts = {
  ...{ name: 'prod', where: 'vault.example', standing: 'idle', rotateWith: 'admin' },
  record: { machine: 'm', profiles: ['jobs'], kept: [], intents: [] },
  document: DOCUMENT,
}
const good: StoreFinding = { may: { read: true, write: true }, requiresVersion: true, skewMs: 0 }

t.test('doctor names what is wrong with a share', async (t) => {
  const short = { ...facts, document: { ...DOCUMENT, pace: { everyMs: 60_000, overlapMs: 1, lifeMs: 1 } } }
  const problem = new BrokerError('share_rotation_refused', 'the role is Member')
  const rows: readonly (readonly [string, Partial<ShareFacts>, StoreFinding, string, RegExp])[] = [
    ['in order', {}, good, 'ok', /in order/],
    ['it may not read', {}, { ...good, may: { read: false, write: true } }, 'problem', /read/],
    ['it may not write', {}, { ...good, may: { read: true, write: false } }, 'problem', /rotate/],
    ['a stranger', { standing: 'foreign' }, good, 'problem', /somebody else/],
    ['two strangers', { standing: 'second_owner' }, good, 'problem', /twice/],
    ['the overlap', short, good, 'problem', /formula/],
    [
      'the rotator',
      { rotator: { profile: 'admin', role: 'Member', problem } },
      good,
      'warning',
      /will not rotate.*Member/,
    ],
    ['no versions required', {}, { ...good, requiresVersion: false }, 'warning', /without a version/],
    ['the token ends', {}, { ...good, tokenLifeMs: DAY, isTokenRenewable: false }, 'warning', /1d/],
    ['the token is renewed', {}, { ...good, tokenLifeMs: DAY, isTokenRenewable: true }, 'ok', /in order/],
    ['the clocks', {}, { ...good, skewMs: -DAY }, 'warning', /clock/],
  ]
  for (const [title, change, store, verdict, finding] of rows) {
    t.match(judgeShare({ ...facts, ...change }, store), { verdict, finding }, title)
  }
  const { rotateWith: _, ...reader } = facts
  t.match(
    judgeShare(reader, { ...good, may: { read: true, write: false } }),
    { verdict: 'ok' },
    'a reader need not write',
  )
})

t.test('a share that no profile uses, and no share at all, are no problems', async (t) => {
  const examine = async () => good
  const plan = (list: readonly ShareFacts[]) => planShareExamination({ list: () => list, examine }).examine()
  t.match(await plan([]), { verdict: 'ok' })
  const { record: _, ...unused } = facts
  t.match(await plan([unused]), { verdict: 'warning', remedy: 'prefect-auth share use prod' })
  t.match(await plan([facts]), { verdict: 'ok', finding: 'in order: prod' })
})
