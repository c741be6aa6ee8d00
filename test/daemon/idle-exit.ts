import t from 'tap'
import { decideIdleExit, type IdleFacts, lastingObstacle } from '../../src/daemon/idle.js'
import { HOUR_MS as HOUR, MINUTE_MS as MINUTE } from '../../src/std/clock.js'

const socket = { door: 'socket', address: '/s', state: 'listening', inherited: true } as const
const tcp = { door: 'tcp', address: 'http://127.0.0.1:4280', state: 'listening', inherited: true } as const

/** No request for a while, and the timer fires in an hour. */
const IDLE: IdleFacts = {
  afterMs: 10 * MINUTE,
  listeners: [socket, tcp],
  vault: { backend: 'file', state: 'ready', opensAlone: true },
  connections: 0,
  quietMs: 11 * MINUTE,
  acts: 0,
  logins: 0,
  journalEntries: 0,
  isWorking: false,
  hasOwnLogLevel: false,
  dutyInMs: 40 * HOUR,
  wakeInMs: HOUR,
}

const { dutyInMs: _duty, ...NOTHING_DUE } = IDLE
const { wakeInMs: _wake, ...NO_TIMER } = IDLE
const { wakeInMs: _neither, ...NEITHER } = NOTHING_DUE

const LEAVES: readonly (readonly [string, IdleFacts])[] = [
  ['no requests, nothing due', IDLE],
  ['nothing is ever due', NOTHING_DUE],
  ['nothing is ever due, so no timer is needed', NEITHER],
  ['quiet for exactly the time set', { ...IDLE, quietMs: IDLE.afterMs }],
  ['due a good while after the timer', { ...IDLE, dutyInMs: HOUR + 3 * MINUTE }],
  ['due soon, and the timer fires sooner', { ...IDLE, dutyInMs: 5 * MINUTE, wakeInMs: MINUTE }],
  ['a port that is off or taken', { ...IDLE, listeners: [socket, { ...tcp, state: 'failed' }] }],
]

for (const [name, facts] of LEAVES) {
  t.test(`exits: ${name}`, async (t) => {
    t.strictSame(decideIdleExit(facts), { kind: 'leave' })
  })
}

const STAYS: readonly (readonly [string, IdleFacts, RegExp, number?])[] = [
  ['a connection, whatever it does', { ...IDLE, connections: 1 }, /1 connection/, 10 * MINUTE],
  ['a request nine minutes ago', { ...IDLE, quietMs: 9 * MINUTE }, /a moment ago/, MINUTE],
  ['a locked vault', { ...IDLE, vault: { backend: 'file', state: 'locked' } }, /vault is not open/],
  ['a logout whose caller has gone', { ...IDLE, acts: 1 }, /caller that has gone/],
  ['a login', { ...IDLE, logins: 1 }, /login/],
  ['Prefect is being asked', { ...IDLE, isWorking: true }, /being asked/],
  ['the journal', { ...IDLE, journalEntries: 1 }, /not finished/],
  ['a state that is not on the disk', { ...IDLE, isStateBehind: true }, /could not be written/],
  ['a log level by hand', { ...IDLE, hasOwnLogLevel: true }, /log level/],
  ['a renewal that is overdue', { ...IDLE, dutyInMs: -HOUR }, /must be renewed/],
  ['a renewal just before the timer', { ...IDLE, dutyInMs: HOUR - 1 }, /before the timer fires/],
  ['a renewal that a late timer would miss', { ...IDLE, dutyInMs: HOUR + MINUTE }, /before the timer fires/],
  ['a key to renew and no timer', NO_TIMER, /prefect-authd\.timer does not run/],
]

for (const [name, facts, because, againInMs = 30_000] of STAYS) {
  t.test(`stays: ${name}`, async (t) => {
    t.match(decideIdleExit(facts), { kind: 'stay', because, isLasting: false, againInMs })
  })
}

const NEVER: readonly (readonly [string, Partial<IdleFacts>, RegExp, RegExp])[] = [
  [
    'started by hand',
    { listeners: [{ door: 'socket', address: '/s', state: 'listening' }] },
    /no systemd socket/,
    /service install/,
  ],
  [
    'a socket that only the daemon opens',
    { listeners: [socket, { door: 'restricted', address: '/box/r', state: 'listening' }] },
    /nothing would listen on \/box\/r/,
    /remove this listener/,
  ],
  [
    'a port of its own',
    { listeners: [socket, { door: 'tcp', address: 'http://127.0.0.1:1', state: 'listening' }] },
    /nothing would listen on http/,
    /unset idle_exit/,
  ],
  ['a keychain', { vault: { backend: 'keychain', state: 'ready' } }, /keychain may be locked/, /file vault/],
  [
    'a vault that a person unlocked',
    { vault: { backend: 'file', state: 'ready' } },
    /person unlocked/,
    /vault\.passphrase_file/,
  ],
]

for (const [name, change, because, hint] of NEVER) {
  t.test(`never exits: ${name}`, async (t) => {
    t.match(decideIdleExit({ ...IDLE, ...change }), { kind: 'stay', because, isLasting: true })
    t.match(lastingObstacle({ ...IDLE, ...change }), { because, hint })
  })
}
