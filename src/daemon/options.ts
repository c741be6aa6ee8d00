/** What a daemon is started with. */

import type { Paths } from '../config/paths.js'
import type { Settings } from '../config/settings.js'
import type { Clock } from '../std/clock.js'
import { defined } from '../std/defined.js'
import { openVault } from '../vault/open-vault.js'
import type { Vault } from '../vault/vault.js'
import type { InheritedSockets } from './inherited-sockets.js'
import type { OpenLog } from './open-log.js'

export interface DaemonOptions {
  readonly version: string
  readonly settings: Settings
  readonly paths: Paths
  readonly configFile?: string
  /** The daemon's environment: what the keychain child, TLS and proxies need of it. */
  readonly env: Readonly<Record<string, string | undefined>>
  /** The process and the machine that the daemon runs in. */
  readonly host: {
    readonly pid: number
    readonly node: string
    readonly execPath: string
    readonly hostname: string
    readonly platform: NodeJS.Platform
  }
  /** What systemd opened for us; nothing without socket activation. */
  readonly inherited: InheritedSockets
  /** The bundled `keychain-child.js`, absolute. */
  readonly keychainChild: string
  readonly clock: Clock
  readonly log: OpenLog
  readonly random: () => number
  /** 12 hex digits, unique. */
  readonly newId: () => string
  /** 32 random bytes as base64url. */
  readonly randomToken: () => string
  /** `POST /v1/shutdown` was answered; or nobody needs the daemon, and its doors are shut. */
  readonly onShutdown: (why: 'asked' | 'idle') => void
}

/** Rejects as `openVault` does. */
export function openDaemonVault({
  settings,
  paths,
  keychainChild,
  host: { execPath },
  env,
  clock,
  log,
}: DaemonOptions): Promise<Vault> {
  const passphraseFile = settings['vault.passphrase_file']
  return openVault({
    settings: {
      backend: settings['vault.backend'],
      keyWrap: settings['vault.key_wrap'],
      ...defined({ passphraseFile }),
    },
    stateDir: paths.stateDir,
    childPath: keychainChild,
    execPath,
    env,
    clock,
    log: log.child({ part: 'vault' }),
  })
}
