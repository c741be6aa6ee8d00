/** Opens the vault as the settings want it. */
import { openVault } from '../vault/open-vault.js'
import type { Vault } from '../vault/vault.js'
import type { DaemonOptions } from './options.js'

/** Rejects as `openVault` does. */
export function openDaemonVault({
  settings,
  paths,
  keychainChild,
  process: { execPath },
  env,
  clock,
  log,
}: DaemonOptions): Promise<Vault> {
  const passphraseFile = settings['vault.passphrase_file']
  return openVault({
    settings: {
      backend: settings['vault.backend'],
      keyWrap: settings['vault.key_wrap'],
      ...(passphraseFile === undefined ? {} : { passphraseFile }),
    },
    ...{ stateDir: paths.stateDir, childPath: keychainChild, execPath, env, clock },
    log: log.child({ part: 'vault' }),
  })
}
