/** Where a passphrase may lie without a person: the file named in the settings, else a systemd credential. */
import { readFile } from 'node:fs/promises'
import { isAbsolute, join } from 'node:path'
import { BrokerError } from '../base/errors.js'
import { Secret } from '../std/secret.js'

export interface PassphraseSources {
  /** Absolute; must be ours alone. */
  readonly passphraseFile: string | undefined
  /** `$CREDENTIALS_DIRECTORY`: systemd guards it itself. */
  readonly credentialsDirectory: string | undefined
  /** Reads a file that is ours alone; `undefined` where there is none. */
  readonly readPrivate: (path: string) => Promise<Buffer | undefined>
}

/**
 * The first line of the first source that is there. A passphrase file that was named and is not there rejects with
 * `vault_unavailable`: it must never look as if none had been asked for.
 */
export async function findPassphrase(sources: PassphraseSources): Promise<Secret | undefined> {
  const { passphraseFile, credentialsDirectory, readPrivate } = sources
  if (passphraseFile !== undefined) {
    const content = await readPrivate(passphraseFile)
    if (content !== undefined) return firstLine(content)
    throw new BrokerError(
      'vault_unavailable',
      `opening the vault: the passphrase file ${passphraseFile} is not there`,
      {
        hint: 'set vault.passphrase_file to a file of mode 0600, or unset it: prefect-auth unlock',
      },
    )
  }
  if (credentialsDirectory === undefined || !isAbsolute(credentialsDirectory)) return undefined
  const content = await readFile(join(credentialsDirectory, 'passphrase')).catch(() => undefined)
  return content && firstLine(content)
}

/** An empty first line is no passphrase. */
function firstLine(content: Buffer): Secret | undefined {
  const line = content.toString().split(/\r?\n/, 1)[0]
  return line ? new Secret(line) : undefined
}
