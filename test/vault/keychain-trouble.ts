import t from 'tap'
import { BrokerError } from '../../src/base/errors.js'
import {
  type KeychainState,
  stateAfter,
  troubleOf,
  troubleOfComplaint,
  troubleOfModule,
} from '../../src/vault/keychain-trouble.js'

t.test('gives a remedy for every state but ready', async (t) => {
  const expected: readonly (readonly [state: KeychainState, code: string])[] = [
    ['locked', 'vault_locked'],
    ['no_bus', 'vault_unavailable'],
    ['no_provider', 'vault_unavailable'],
    ['no_keyring', 'vault_unavailable'],
    ['timed_out', 'vault_timeout'],
    ['failed', 'vault_unavailable'],
  ]
  t.equal(troubleOf({ state: 'ready', detail: '' }), undefined)
  for (const [state, code] of expected) {
    t.match(troubleOf({ state, detail: 'why' }), { code, what: /./, hint: /./ }, state)
  }
})

const COMPLAINTS: readonly (readonly [message: string, platform: string, code: string, hint: RegExp])[] = [
  ['User interaction is not allowed.', 'darwin', 'vault_locked', /security unlock-keychain/],
  ['SecKeychainItemCopyContent: -25308', 'darwin', 'vault_locked', /security unlock-keychain/],
  ['User canceled the operation.', 'darwin', 'vault_locked', /security unlock-keychain/],
  ['The user name or passphrase you entered is not correct.', 'darwin', 'vault_locked', /security/],
  ['Cannot create an item in a locked collection', 'linux', 'vault_locked', /gnome-keyring-daemon/],
  ['Cannot autolaunch D-Bus without X11 $DISPLAY', 'linux', 'vault_unavailable', /DBUS_SESSION_BUS_ADDRESS/],
  [
    'The name org.freedesktop.secrets was not provided by any .service files',
    'linux',
    'vault_unavailable',
    /install/,
  ],
  ['Object does not exist at path “/org/…/login”', 'linux', 'vault_unavailable', /--unlock/],
  ['Timeout was reached', 'linux', 'vault_timeout', /restart/],
  ['Element not found.', 'win32', 'vault_unavailable', /doctor/],
]
t.test("recognizes keytar's known messages", async (t) => {
  for (const [message, platform, code, hint] of COMPLAINTS) {
    t.match(troubleOfComplaint(message, platform), { code, hint }, message)
  }
})

t.test('distinguishes a missing keytar from one that cannot be loaded', async (t) => {
  t.match(troubleOfModule("Cannot find package 'keytar' imported from /x/dist/keychain-child.js", 'linux'), {
    hint: /--vault-backend=file/,
  })
  const unloadable = 'Failed to load keytar native addon, checked …'
  t.match(troubleOfModule(unloadable, 'linux'), { code: 'vault_unavailable', hint: /libsecret/ })
  t.match(troubleOfModule(unloadable, 'darwin'), { hint: /doctor/ })
})

t.test('only errors about the vault change its state', async (t) => {
  t.equal(stateAfter(new BrokerError('vault_locked', 'x')), 'locked')
  t.equal(stateAfter(new BrokerError('vault_unavailable', 'x')), 'unavailable')
  t.equal(stateAfter(new BrokerError('vault_timeout', 'x')), 'timed_out')
  t.equal(stateAfter(new BrokerError('vault_corrupt', 'x')), undefined)
})
