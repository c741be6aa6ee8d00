/** Who may ask for what: a row for every kind of caller. */

import t from 'tap'
import {
  type Caller,
  hasPower,
  POWERS,
  reachesProfile,
  requirePower,
  requireProfile,
} from '../../src/tokens/access.js'

function caller(door: Caller['door'], power?: 'inspect' | 'proxy' | 'use', profiles = ['cloud']): Caller {
  return power === undefined ? { door } : { door, token: { id: 'x', name: 'n', power, profiles } }
}

const ROWS: readonly (readonly [string, Caller, readonly string[]])[] = [
  ['the owner', caller('socket'), ['inspect', 'proxy', 'use', 'admin']],
  ['a token with the power use', caller('tcp', 'use'), ['inspect', 'proxy', 'use']],
  ['a token with the power use on the socket', caller('socket', 'use'), ['inspect', 'proxy', 'use']],
  ['a token with the power proxy', caller('tcp', 'proxy'), ['proxy']],
  ['a token with the power inspect', caller('restricted', 'inspect'), ['inspect']],
  ['a caller without a token on TCP', caller('tcp'), []],
  ['a caller without a token on the restricted socket', caller('restricted'), []],
]

for (const [name, who, may] of ROWS) {
  t.test(`${name} may ${may.join(', ') || 'nothing'}`, async (t) => {
    for (const power of POWERS) {
      t.equal(hasPower(who, power), may.includes(power), power)
      if (may.includes(power)) requirePower(who, power)
      else t.throws(() => requirePower(who, power), { code: 'power_missing' })
    }
  })
}

t.test('lets a token reach its own profiles, the owner all, and other callers none', async (t) => {
  t.equal(reachesProfile(caller('tcp', 'use'), 'cloud'), true)
  t.equal(reachesProfile(caller('tcp', 'use'), 'Cloud'), false)
  t.equal(reachesProfile(caller('tcp', 'use', ['*']), 'anything'), true)
  t.equal(reachesProfile(caller('tcp', 'use', []), 'cloud'), false)
  t.equal(reachesProfile(caller('socket'), 'anything'), true)
  t.equal(reachesProfile(caller('tcp'), 'cloud'), false)
  t.throws(() => requireProfile(caller('tcp', 'use'), 'other'), { code: 'profile_not_allowed' })
})
