/** Opens the vault that was chosen at the first start, or chooses one now and records which and why. */
import { randomUUID } from 'node:crypto'
import { platform as osPlatform } from 'node:os'
import { join } from 'node:path'
import { BrokerError, isBrokerError } from '../base/errors.js'
import { ensurePrivateDirectory, readPrivateFile } from '../os/private-files.js'
import { type Clock, SECOND_MS } from '../std/clock.js'
import { defined } from '../std/defined.js'
import type { Log } from '../std/log.js'
import {
  planVault,
  readVaultChoice,
  type VaultChoice,
  type VaultSettings,
  writeVaultChoice,
} from './choice.js'
import type { KeyWrap, KeyWrapKind } from './data-key.js'
import { createDataKeyFile, dataKeyPath, readDataKey } from './data-key.js'
import { createRecordFiles, hasRecords, openFileVault } from './file.js'
import { openKeychainVault } from './keychain.js'
import { createKeychainProcess } from './keychain-process.js'
import { createPreflight } from './keychain-trouble.js'
import type { Vault } from './vault.js'
import { createWaitingVault } from './waiting.js'
import { createPassphraseWrap, findPassphrase } from './wrap-passphrase.js'
import { createKeyFileWrap, createSystemdWrap, probeSystemdWrap } from './wrap-systemd.js'

export interface VaultDependencies {
  readonly settings: VaultSettings
  /** Created if it is missing. */
  readonly stateDir: string
  /** The bundled `keychain-child.js`, absolute. */
  readonly childPath: string
  /** `process.execPath` */
  readonly execPath: string
  /** The daemon's environment; children get only the {@link KEYCHAIN_VARIABLES}. */
  readonly env: Readonly<Record<string, string | undefined>>
  readonly clock: Clock
  readonly log: Log
  /** As `process.platform`; default this machine's. */
  readonly platform?: string
  /** For one request to the keychain, ms. */
  readonly deadlineMs?: number
  /** Absolute path of systemd-creds. */
  readonly systemdCreds?: string
  /** How many items of a vault the ledger names: without a recorded choice they must not be hidden by a new vault. */
  readonly namedItems?: number
  /** scrypt's N for a new passphrase. */
  readonly passphraseCost?: number
}

/** What a keychain client needs to find the session and the home directory. No locale: we match the system's sentences. */
const KEYCHAIN_VARIABLES = [
  'DBUS_SESSION_BUS_ADDRESS',
  'XDG_RUNTIME_DIR',
  'HOME',
  'USER',
  'LOGNAME',
  'USERPROFILE',
  'APPDATA',
  'LOCALAPPDATA',
  'SYSTEMROOT',
] as const

/**
 * Rejects with `setting_invalid` (the settings contradict the choice), `state_corrupt`, `vault_corrupt`,
 * `state_dir_unsafe`, `disk_failed`; at the first start also as a keychain or wrap that the settings demand. A vault chosen
 * earlier that is unavailable today is not an error here: `describe()` and every call say so.
 */
export async function openVault(dependencies: VaultDependencies): Promise<Vault> {
  const { settings, stateDir, log, namedItems } = dependencies
  await ensurePrivateDirectory(stateDir)
  const recorded = await readVaultChoice(stateDir, readPrivateFile)
  const plan = planVault({
    settings,
    stateDir,
    recorded: recorded.kind === 'good' ? recorded.choice : undefined,
    isDamaged: recorded.kind === 'damaged',
    found: await readDataKey(vaultDir(stateDir), readPrivateFile),
    ...defined({ namedItems }),
  })
  if (plan.kind === 'decide') return openNew(dependencies)
  const vault = await openChosen(plan.choice, dependencies)
  if (plan.isNew) {
    // The data key alone identifies this vault, so the choice may be written later.
    await record(plan.choice, vault, dependencies).catch((error: unknown) =>
      log.error({ error }, 'vault choice not written; will retry at the next start'),
    )
  }
  warnIfUnprotected(vault, dependencies)
  return vault
}

function warnIfUnprotected(vault: Vault, { stateDir, log }: VaultDependencies): void {
  if (vault.describe().atRest !== 'not protected') return
  log.warn({ key_file: dataKeyPath(vaultDir(stateDir)) }, 'at rest: not protected')
}

/** Nothing may be stored in a vault that the next start would not find: while the disk fails, the choice waits. */
async function openNew(dependencies: VaultDependencies): Promise<Vault> {
  const attempt = async () => {
    // A data key that an attempt has made identifies the vault: it is not made twice.
    const found = await readDataKey(vaultDir(dependencies.stateDir), readPrivateFile)
    const plan = planVault({ ...dependencies, recorded: undefined, found })
    const choice = plan.kind === 'open' ? plan.choice : await decide(dependencies)
    const vault = await openChosen(choice, dependencies)
    await record(choice, vault, dependencies)
    warnIfUnprotected(vault, dependencies)
    return vault
  }
  try {
    return await attempt()
  } catch (error) {
    if (!isBrokerError(error, 'disk_failed')) throw error
    dependencies.log.error({ error }, 'vault not created; will retry')
    return createWaitingVault(
      dependencies.settings.backend === 'keychain' ? 'keychain' : 'file',
      attempt,
      error,
    )
  }
}

async function record(
  choice: VaultChoice,
  vault: Vault,
  { stateDir, clock, log }: VaultDependencies,
): Promise<void> {
  await writeVaultChoice(stateDir, choice, clock.now())
  const { atRest, because } = vault.describe()
  log.info({ backend: choice.backend, at_rest: atRest, because }, 'vault chosen')
}

async function decide(dependencies: VaultDependencies): Promise<VaultChoice> {
  const { settings } = dependencies
  const store = randomUUID()
  if (settings.backend === 'file') return decideFile(store, "vault.backend = 'file'", dependencies)
  const because =
    settings.backend === 'auto' ? 'the OS keychain worked at the first start' : "vault.backend = 'keychain'"
  const choice: VaultChoice = { backend: 'keychain', store, because }
  const vault = await openChosen(choice, dependencies)
  try {
    await vault.prove()
    return choice
  } catch (error) {
    if (settings.backend === 'keychain' || !(error instanceof BrokerError)) throw error
    return decideFile(
      store,
      `the OS keychain did not work at the first start (${error.message})`,
      dependencies,
    )
  } finally {
    await vault.close()
  }
}

async function decideFile(
  store: string,
  reason: string,
  dependencies: VaultDependencies,
): Promise<VaultChoice> {
  const { wrap, why } = await chooseWrap(dependencies)
  return { backend: 'file', wrap, store, because: `${reason}; ${why}` }
}

async function chooseWrap(dependencies: VaultDependencies): Promise<{ wrap: KeyWrapKind; why: string }> {
  const { keyWrap = 'auto', passphraseFile } = dependencies.settings
  if (keyWrap !== 'auto' && keyWrap !== 'systemd-creds')
    return { wrap: keyWrap, why: `vault.key_wrap = '${keyWrap}'` }
  const complaint = await probeSystemdWrap(createWrap('systemd-creds', dependencies))
  if (complaint === undefined) return { wrap: 'systemd-creds', why: 'systemd-creds wraps the data key' }
  if (keyWrap === 'systemd-creds') {
    throw new BrokerError(
      'vault_unavailable',
      `cannot create the vault: systemd-creds does not work here (${complaint})`,
      {
        hint: 'set vault.key_wrap to passphrase or key-file; systemd-creds needs systemd 256 or later',
      },
    )
  }
  const without = `systemd-creds cannot be used (${complaint})`
  if ((await passphraseOf(dependencies)) !== undefined) {
    const where = passphraseFile ?? 'a systemd credential'
    return { wrap: 'passphrase', why: `${without}; the passphrase in ${where} protects the data key` }
  }
  return {
    wrap: 'key-file',
    why: `${without}; no passphrase was given, so the data key is in a file beside the keys`,
  }
}

async function openChosen(choice: VaultChoice, dependencies: VaultDependencies): Promise<Vault> {
  return choice.backend === 'keychain' ? openKeychain(choice, dependencies) : openFile(choice, dependencies)
}

function openKeychain(choice: VaultChoice, dependencies: VaultDependencies): Promise<Vault> {
  const { clock, execPath, childPath, platform = osPlatform(), deadlineMs = 3 * SECOND_MS } = dependencies
  const env = keychainEnvironment(dependencies.env)
  return openKeychainVault({
    ask: createKeychainProcess({ execPath, childPath, env, deadlineMs, clock }),
    ...(platform === 'linux' && { preflight: createPreflight({ env, deadlineMs, clock }) }),
    clock,
    store: choice.store,
    because: choice.because,
    platform,
  })
}

async function openFile(
  choice: Extract<VaultChoice, { backend: 'file' }>,
  dependencies: VaultDependencies,
): Promise<Vault> {
  const { stateDir, clock } = dependencies
  const { store, because } = choice
  const dir = vaultDir(stateDir)
  await ensurePrivateDirectory(dir)
  const found = await readDataKey(dir, readPrivateFile)
  if (found === undefined && (await hasRecords(dir))) {
    throw new BrokerError(
      'vault_corrupt',
      `cannot open the vault: ${dir} holds records, but their data key is missing`,
      {
        hint: `restore ${dataKeyPath(dir)} from a backup`,
      },
    )
  }
  const wrap = createWrap(choice.wrap, dependencies)
  return openFileVault({
    clock,
    wrap,
    because,
    dataKey: createDataKeyFile({ dir, store, wrap, found }),
    records: createRecordFiles({ dir, store, clock, readFile: readPrivateFile }),
  })
}

function createWrap(kind: KeyWrapKind, dependencies: VaultDependencies): KeyWrap {
  const { clock, systemdCreds, passphraseCost } = dependencies
  switch (kind) {
    case 'key-file':
      return createKeyFileWrap()
    case 'passphrase':
      return createPassphraseWrap({
        findPassphrase: () => passphraseOf(dependencies),
        ...defined({ cost: passphraseCost }),
      })
    case 'systemd-creds':
      return createSystemdWrap({ clock, ...defined({ program: systemdCreds }) })
  }
}

function passphraseOf({ settings, env }: VaultDependencies): ReturnType<typeof findPassphrase> {
  return findPassphrase({
    passphraseFile: settings.passphraseFile,
    credentialsDirectory: env.CREDENTIALS_DIRECTORY,
    readPrivate: readPrivateFile,
  })
}

function vaultDir(stateDir: string): string {
  return join(stateDir, 'vault')
}

function keychainEnvironment(env: VaultDependencies['env']): Record<string, string> {
  return Object.fromEntries(
    KEYCHAIN_VARIABLES.flatMap((name) => (env[name] === undefined ? [] : [[name, env[name]]])),
  )
}
