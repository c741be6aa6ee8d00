/** The OS keychain as a vault. Every call goes through a child process; on Linux it is asked first whether it is locked. */
import { randomBytes } from 'node:crypto'
import { BrokerError, shuttingDown } from '../base/errors.js'
import { createSerial } from '../std/async.js'
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

/** The service under which the keychain lists what is ours. */
export const KEYCHAIN_SERVICE = 'prefect-auth-broker'

/** What goes to the process: one line of JSON. */
export type KeychainRequest =
  | { readonly verb: 'get'; readonly service: string; readonly account: string }
  | { readonly verb: 'set'; readonly service: string; readonly account: string; readonly value: string }
  | { readonly verb: 'delete'; readonly service: string; readonly account: string }

/** What comes back: one line of JSON. */
export type KeychainReply =
  | { readonly kind: 'value'; readonly value: string }
  /** Nothing there, or locked: keytar cannot tell. */
  | { readonly kind: 'nothing' }
  | { readonly kind: 'done' }
  | { readonly kind: 'no_module'; readonly message: string }
  | { readonly kind: 'failed'; readonly message: string }

/**
 * Rejects with `vault_timeout` when the deadline passed (the process is dead then; what it asked for may still happen in
 * the keychain), with `vault_unavailable` when it crashed, never started or said something else.
 */
export type AskKeychain = (request: KeychainRequest) => Promise<KeychainReply>

/** keytar cuts values at a NUL and refuses empty ones. */
const PREFIX = 'pab1:'

export function encodeItem(item: string, value: Secret): string {
  return PREFIX + Buffer.from(JSON.stringify([item, value.reveal()])).toString('base64') // what the keychain keeps
}

/** Throws `vault_corrupt` for what somebody else wrote, and for one item's value under another one's name. */
export function decodeItem(item: string, text: string): Secret {
  const content = text.startsWith(PREFIX) ? parse(text.slice(PREFIX.length)) : undefined
  if (Array.isArray(content) && content.length === 2) {
    const [name, value]: readonly unknown[] = content
    if (name === item && typeof value === 'string') return new Secret(value)
  }
  throw new BrokerError(
    'vault_corrupt',
    `reading '${item}' from the keychain: it holds what we did not write there`,
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
  /** Tells locked from missing where keytar cannot; absent where the system's own errors say it. */
  readonly preflight?: Preflight
  /** Names the probe item: two daemons must not test with the same one. */
  readonly store: string
  readonly because: string
  readonly platform: string
}

type Standing = Pick<VaultDescription, 'state' | 'problem'>
type Answered = Exclude<KeychainReply, { kind: 'failed' | 'no_module' }>

/**
 * Looks once whether the keychain answers; one that does not is no error here but the answer of every later call. A
 * `put` that ended in `vault_timeout` may still have happened.
 */
export async function openKeychainVault(dependencies: KeychainVaultDependencies): Promise<Vault> {
  const { store, because } = dependencies
  const items = createItems(dependencies)
  const serial = createSerial()
  let standing: Standing = { state: 'ready' }
  let isClosed = false

  const observed = <T>(item: string, work: () => Promise<T>): Promise<T> =>
    serial.run(async () => {
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
    })

  const probe = `probe:${store}`
  const vault: Vault = {
    describe: () => ({ backend: 'keychain', atRest: 'os keychain', because, ...standing }),
    get: (item) => observed(item, () => items.read(item)),
    put: (item, value) => observed(item, () => items.write(item, value)),
    delete: (item) => observed(item, () => items.remove(item)),
    prove: () => proveVault(vault, probe, new Secret(randomBytes(16).toString('hex'))),
    unlock: notLockable,
    lock: notLockable,
    // What runs has a deadline, and a write is better ended than cut off.
    async close() {
      isClosed = true
      await serial.run(async () => undefined)
    },
  }
  await observed(probe, () => items.look('looking at the keychain')).catch(() => undefined)
  return vault
}

/** The four things that are asked of a keychain, each with an error that says what it means. */
function createItems({ ask, preflight, platform }: KeychainVaultDependencies) {
  async function look(doing: string): Promise<void> {
    const trouble = preflight && troubleOf(await preflight())
    if (trouble) throw errorOf(doing, trouble)
  }

  async function answer(doing: string, request: KeychainRequest): Promise<Answered> {
    await look(doing)
    const reply = await ask(request)
    if (reply.kind === 'failed' || reply.kind === 'no_module') {
      const trouble = reply.kind === 'failed' ? troubleOfComplaint : troubleOfModule
      throw errorOf(doing, trouble(plainText(reply.message, 300), platform))
    }
    // "Nothing" is also what keytar says of a keyring that was locked, or restarted, after we looked.
    if (reply.kind === 'nothing') await look(doing)
    return reply
  }

  async function read(account: string): Promise<Secret | undefined> {
    const doing = `reading '${account}' from the keychain`
    const reply = await answer(doing, { verb: 'get', service: KEYCHAIN_SERVICE, account })
    return reply.kind === 'value' ? decodeItem(account, reply.value) : undefined
  }

  async function write(account: string, value: Secret): Promise<void> {
    const doing = `writing '${account}' to the keychain`
    requireSmallValue(account, value)
    const encoded = encodeItem(account, value)
    await answer(doing, { verb: 'set', service: KEYCHAIN_SERVICE, account, value: encoded })
    const kept = await read(account)
    if (kept?.equals(value)) return
    const what = 'it said yes, and gives back something else'
    throw errorOf(doing, { code: 'vault_unavailable', what, hint: 'prefect-auth doctor' })
  }

  async function remove(account: string): Promise<void> {
    const doing = `deleting '${account}' from the keychain`
    await answer(doing, { verb: 'delete', service: KEYCHAIN_SERVICE, account })
  }

  return { look, read, write, remove }
}

function errorOf(doing: string, { code, what, hint }: KeychainTrouble): BrokerError {
  return new BrokerError(code, `${doing}: ${what}`, { hint })
}

function standingAfter(error: unknown): Standing | undefined {
  const state = error instanceof BrokerError ? stateAfter(error) : undefined
  if (state === undefined || !(error instanceof BrokerError)) return undefined
  return { state, problem: { message: error.message, hint: error.hint ?? 'prefect-auth doctor' } }
}

async function notLockable(): Promise<void> {
  throw new BrokerError(
    'vault_not_lockable',
    'the OS keychain is locked and unlocked by the desktop, not by us',
  )
}
