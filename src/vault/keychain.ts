/** The OS keychain as a vault: every value carries its name, every call is checked for a locked keyring. */
import { randomBytes } from 'node:crypto'
import { BrokerError, shuttingDown } from '../base/errors.js'
import { createSerial, createSingleFlight } from '../std/async.js'
import { type Clock, SECOND_MS, sleep } from '../std/clock.js'
import { Secret } from '../std/secret.js'
import { plainText } from '../std/text.js'
import {
  type KeychainTrouble,
  type Preflight,
  stateAfter,
  troubleOf,
  troubleOfComplaint,
  troubleOfModule,
} from './keychain-trouble.js'
import { proveVault, requireItemName, requireSmallValue, type Vault, type VaultDescription } from './vault.js'

/** The service under which the keychain lists our items. */
export const KEYCHAIN_SERVICE = 'prefect-auth-broker'

/** What goes to the process: one line of JSON. */
export type KeychainRequest =
  | { readonly verb: 'get'; readonly service: string; readonly account: string }
  | { readonly verb: 'set'; readonly service: string; readonly account: string; readonly value: string }
  | { readonly verb: 'delete'; readonly service: string; readonly account: string }

/** What comes back: one line of JSON. */
export type KeychainReply =
  | { readonly kind: 'value'; readonly value: string }
  /** No such item, or locked: keytar cannot tell them apart. */
  | { readonly kind: 'nothing' }
  | { readonly kind: 'done' }
  | { readonly kind: 'no_module'; readonly message: string }
  | { readonly kind: 'failed'; readonly message: string }

/**
 * Rejects with `vault_timeout` after the deadline (the process is dead then, but its request may still take effect), and with
 * `vault_unavailable` if the process crashed, never started or replied something else.
 */
export type AskKeychain = (request: KeychainRequest) => Promise<KeychainReply>

/** Values are encoded because keytar truncates at a NUL and refuses empty ones. */
const PREFIX = 'pab1:'

export function encodeItem(item: string, value: Secret): string {
  return PREFIX + Buffer.from(JSON.stringify([item, value.reveal()])).toString('base64') // what the keychain keeps
}

/** Throws `vault_corrupt` for a value that we did not write, or that belongs to another item. */
export function decodeItem(item: string, text: string): Secret {
  const content = text.startsWith(PREFIX) ? parse(text.slice(PREFIX.length)) : undefined
  if (Array.isArray(content) && content.length === 2) {
    const [name, value]: readonly unknown[] = content
    if (name === item && typeof value === 'string') return new Secret(value)
  }
  throw new BrokerError(
    'vault_corrupt',
    `cannot read '${item}' from the keychain: it holds a value that we did not write`,
    {
      hint: 'prefect-auth login',
    },
  )
}

function parse(base64: string): unknown {
  try {
    return JSON.parse(Buffer.from(base64, 'base64').toString())
  } catch {
    return undefined
  }
}

interface KeychainVaultDependencies {
  readonly ask: AskKeychain
  /** With it, a keychain that does not answer the first question is waited for a second only. */
  readonly clock?: Clock
  /** Distinguishes locked from missing, which keytar cannot; absent if the system's own errors do. */
  readonly preflight?: Preflight
  /** Part of the probe item's name: two daemons must not test with the same one. */
  readonly store: string
  readonly because: string
  readonly platform: string
}

type Standing = Pick<VaultDescription, 'state' | 'problem'>
type Answered = Exclude<KeychainReply, { kind: 'failed' | 'no_module' }>

/** How long a start waits to hear how the keychain is. */
const FIRST_LOOK_MS = SECOND_MS

/**
 * Checks once whether the keychain can be used. One that cannot is not an error here: every later call rejects. A `put` that
 * rejected with `vault_timeout` may still have taken effect.
 */
export async function openKeychainVault(dependencies: KeychainVaultDependencies): Promise<Vault> {
  const { store, because } = dependencies
  const items = createItems(dependencies)
  const serial = createSerial()
  const underWay = new Set<Promise<unknown>>()
  let standing: Standing = { state: 'ready' }
  let isClosed = false

  const observe = async <T>(item: string, work: () => Promise<T>): Promise<T> => {
    requireItemName(item)
    if (isClosed) throw shuttingDown()
    try {
      const result = await work()
      standing = { state: 'ready' }
      return result
    } catch (error) {
      standing = standingAfter(error) ?? standing
      throw error
    }
  }
  /** Writes keep their order. */
  const inTurn = <T>(item: string, work: () => Promise<T>) => serial.run(() => observe(item, work))
  /** One item that hangs holds up no other. */
  const sideBySide = <T>(item: string, work: () => Promise<T>): Promise<T> => {
    const call = observe(item, work)
    underWay.add(call)
    const done = () => underWay.delete(call)
    call.then(done, done)
    return call
  }

  const probe = `probe:${store}`
  // All have one item: two at once would each find the other's value.
  const proofs = createSingleFlight<void>()
  const vault: Vault = {
    describe: () => ({ backend: 'keychain', atRest: 'os keychain', because, ...standing }),
    get: (item) => sideBySide(item, () => items.read(item)),
    put: (item, value) => inTurn(item, () => items.write(item, value)),
    delete: (item) => inTurn(item, () => items.remove(item)),
    prove: () =>
      proofs.run(probe, () => proveVault(vault, probe, new Secret(randomBytes(16).toString('hex')))),
    unlock: notLockable,
    lock: notLockable,
    // The running calls have a deadline, and a write should end rather than be cut off.
    async close() {
      isClosed = true
      await serial.run(async () => undefined)
      await Promise.allSettled(underWay)
    },
  }
  const first = sideBySide(probe, () => items.look('use the keychain')).catch(() => undefined)
  const { clock } = dependencies
  await (clock === undefined ? first : Promise.race([first, sleep(clock, FIRST_LOOK_MS)]))
  return vault
}

/** The calls to a keychain, each failing with an error that says what to do. */
function createItems({ ask, preflight, platform }: KeychainVaultDependencies) {
  let looking: Promise<KeychainTrouble | undefined> | undefined

  /** Calls that begin while somebody looks share that look. */
  async function look(action: string): Promise<void> {
    looking ??= lookNow().finally(() => {
      looking = undefined
    })
    const trouble = await looking
    if (trouble) throw errorOf(action, trouble)
  }

  async function lookNow(): Promise<KeychainTrouble | undefined> {
    return preflight && troubleOf(await preflight())
  }

  async function request(action: string, wanted: KeychainRequest): Promise<Answered> {
    await look(action)
    const reply = await ask(wanted)
    if (reply.kind === 'failed' || reply.kind === 'no_module') {
      const trouble = reply.kind === 'failed' ? troubleOfComplaint : troubleOfModule
      throw errorOf(action, trouble(plainText(reply.message, 300), platform))
    }
    // keytar also says "nothing" of a keyring that was locked, or restarted, after the first check: a look begun since.
    const trouble = reply.kind === 'nothing' ? await lookNow() : undefined
    if (trouble) throw errorOf(action, trouble)
    return reply
  }

  async function read(account: string): Promise<Secret | undefined> {
    const action = `read '${account}' from the keychain`
    const reply = await request(action, { verb: 'get', service: KEYCHAIN_SERVICE, account })
    return reply.kind === 'value' ? decodeItem(account, reply.value) : undefined
  }

  async function write(account: string, value: Secret): Promise<void> {
    const action = `write '${account}' to the keychain`
    requireSmallValue(account, value)
    const encoded = encodeItem(account, value)
    await request(action, { verb: 'set', service: KEYCHAIN_SERVICE, account, value: encoded })
    const kept = await read(account)
    if (kept?.equals(value)) return
    const what = 'the keychain returned a different value than was stored'
    throw errorOf(action, { code: 'vault_unavailable', what, hint: 'prefect-auth doctor' })
  }

  async function remove(account: string): Promise<void> {
    const action = `delete '${account}' from the keychain`
    await request(action, { verb: 'delete', service: KEYCHAIN_SERVICE, account })
  }

  return { look, read, write, remove }
}

function errorOf(action: string, { code, what, hint }: KeychainTrouble): BrokerError {
  return new BrokerError(code, `cannot ${action}: ${what}`, { hint })
}

function standingAfter(error: unknown): Standing | undefined {
  const state = error instanceof BrokerError ? stateAfter(error) : undefined
  if (state === undefined || !(error instanceof BrokerError)) return undefined
  return { state, problem: { message: error.message, hint: error.hint ?? 'prefect-auth doctor' } }
}

async function notLockable(): Promise<void> {
  throw new BrokerError('vault_not_lockable', 'cannot lock or unlock the OS keychain: the desktop does that')
}
