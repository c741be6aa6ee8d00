/** Secrets for the store: from files, the environment, and systemd credentials. */

import { join } from 'node:path'
import { BrokerError } from '../base/errors.js'
import type { SecretSource } from '../config/shares.js'
import { readPlainFile } from '../os/private-files.js'
import { Secret } from '../std/secret.js'
import type { ReadSecret } from './store.js'

const MAX_LENGTH = 16_384

/** `env`: the daemon's. */
export function createReadSecret(env: Readonly<Record<string, string | undefined>>): ReadSecret {
  return async (source, what) => {
    const text = source.kind === 'env' ? env[source.name] : await readFrom(pathOf(source, env), what)
    const plain = text?.trim()
    if (plain === undefined || plain === '') throw missing(source, what, 'there is nothing in it')
    if (plain.length > MAX_LENGTH || !/^[\x21-\x7e]+$/.test(plain)) {
      throw missing(source, what, 'it holds more than one line, or other characters than a secret has')
    }
    return new Secret(plain)
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
  source: Exclude<SecretSource, { kind: 'env' }>,
  env: Readonly<Record<string, string | undefined>>,
): string | undefined {
  if (source.kind === 'file') return source.path
  const { CREDENTIALS_DIRECTORY: directory } = env
  return directory === undefined ? undefined : join(directory, source.name)
}

function missing(source: SecretSource, what: string, why: string): BrokerError {
  const where =
    source.kind === 'file'
      ? source.path
      : source.kind === 'env'
        ? `the environment variable ${source.name} of the daemon`
        : `the systemd credential ${source.name}`
  return new BrokerError('share_store_login', `cannot read the ${what} from ${where}: ${why}`, {
    hint: `check ${where}`,
  })
}
