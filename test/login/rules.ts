/** Which owner and which workspace a login accepts. */
import t from 'tap'
import { judgeOwner, nameOwner } from '../../src/login/rules.js'
import { MALLORY, rules, TERRY } from '../fixtures/login-parts.js'

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
