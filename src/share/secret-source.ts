/** Secrets for the store: from files, the environment, systemd credentials, and our own vault. */

import { join } from 'node:path'
import { BrokerError } from '../base/errors.js'
import type { SecretSource } from '../config/shares.js'
import { readPlainFile } from '../os/private-files.js'
import { Secret } from '../std/secret.js'
import type { Vault } from '../vault/vault.js'
import { readFromVault } from './secrets.js'
import type { ReadSecret } from './store.js'

const MAX_LENGTH = 16_384

/** `env`: the daemon's. */
export function createReadSecret(
  env: Readonly<Record<string, string | undefined>>,
  vault: Pick<Vault, 'get'>,
): ReadSecret {
  return async (source, what) => {
    const text = await textOf(source, what)
    const plain = text?.trim()
    if (plain === undefined || plain === '') throw missing(source, what, 'there is nothing in it')
    if (plain.length > MAX_LENGTH || !/^[\x21-\x7e]+$/.test(plain)) {
      throw missing(source, what, 'it holds more than one line, or other characters than a secret has')
    }
    return new Secret(plain)
  }

  async function textOf(source: SecretSource, what: string): Promise<string | undefined> {
    if (source.kind === 'env') return env[source.name]
    if (source.kind === 'vault') return readFromVault(vault, source.name, what)
    return readFrom(pathOf(source, env), what)
  }

  async function readFrom(path: string | undefined, what: string): Promise<string | undefined> {
    if (path === undefined) return undefined
    try {
      return (await readPlainFile(path))?.toString('utf8')
    } catch (cause) {
      throw new BrokerError('share_store_login', `cannot read the ${what} from ${path}`, {
        hint: `check that this user can read ${path}`,
        cause,
      })
    }
  }
}

function pathOf(
  source: Extract<SecretSource, { kind: 'file' | 'credential' }>,
  env: Readonly<Record<string, string | undefined>>,
): string | undefined {
  if (source.kind === 'file') return source.path
  const { CREDENTIALS_DIRECTORY: directory } = env
  return directory === undefined ? undefined : join(directory, source.name)
}

function missing(source: SecretSource, what: string, why: string): BrokerError {
  const where = placeOf(source)
  return new BrokerError('share_store_login', `cannot read the ${what} from ${where}: ${why}`, {
    hint: source.kind === 'vault' ? `prefect-auth share secret ${source.name}` : `check ${where}`,
  })
}

function placeOf(source: SecretSource): string {
  switch (source.kind) {
    case 'file':
      return source.path
    case 'env':
      return `the environment variable ${source.name} of the daemon`
    case 'credential':
      return `the systemd credential ${source.name}`
    case 'vault':
      return `secret ${source.name} of the vault`
  }
}
