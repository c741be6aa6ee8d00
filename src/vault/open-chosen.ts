/** Opens the vault of a choice, and finds out what can wrap a data key here. */
import { platform as osPlatform } from 'node:os'
import { join } from 'node:path'
import { BrokerError } from '../base/errors.js'
import { ensurePrivateDirectory, readPrivateFile } from '../os/private-files.js'
import { type Clock, SECOND_MS } from '../std/clock.js'
import { defined } from '../std/defined.js'
import type { Log } from '../std/log.js'
import { dirOf, type VaultChoice, type VaultSettings } from './choice.js'
import type { KeyWrap, KeyWrapKind } from './data-key.js'
import { createDataKeyFile, dataKeyPath, readDataKey } from './data-key.js'
import { createRecordFiles, hasRecords, openFileVault } from './file.js'
import { openKeychainVault } from './keychain.js'
import { createKeychainProcess } from './keychain-process.js'
import { createPreflight } from './keychain-trouble.js'
import type { Vault } from './vault.js'
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

export async function chooseWrap(
  dependencies: VaultDependencies,
): Promise<{ wrap: KeyWrapKind; why: string }> {
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

export async function openChosen(choice: VaultChoice, dependencies: VaultDependencies): Promise<Vault> {
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
  const dir = vaultDir(stateDir, choice)
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

export function passphraseOf({ settings, env }: VaultDependencies): ReturnType<typeof findPassphrase> {
  return findPassphrase({
    passphraseFile: settings.passphraseFile,
    credentialsDirectory: env.CREDENTIALS_DIRECTORY,
    readPrivate: readPrivateFile,
  })
}

export function vaultDir(stateDir: string, choice?: VaultChoice): string {
  return join(stateDir, dirOf(choice))
}

function keychainEnvironment(env: VaultDependencies['env']): Record<string, string> {
  return Object.fromEntries(
    KEYCHAIN_VARIABLES.flatMap((name) => (env[name] === undefined ? [] : [[name, env[name]]])),
  )
}
