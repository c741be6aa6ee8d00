/** Passphrases: from the first line of a file, or from the terminal without echo, a new one twice. */
import { readFileSync } from 'node:fs'
import { readSecret } from './ask.js'
import { usageError } from './failure.js'
import type { Session } from './session.js'
import { printable } from './text.js'

/** Said wherever a new one is asked for; the daemon checks it. */
const RULE = 'at least 12 characters, 6 of them different'

/** `command`: with the option that needs no terminal. Fails with `usage`. */
export async function readPassphrase(
  session: Session,
  {
    file,
    isNew,
    command,
  }: { readonly file: string | undefined; readonly isNew: boolean; readonly command: string },
): Promise<string> {
  if (file !== undefined) return readFirstLine(file)
  const what = isNew ? `new passphrase (${RULE})` : 'passphrase'
  const passphrase = await readSecret(session, { what, fromStdin: false, hint: command })
  if (!isNew) return passphrase
  const again = await readSecret(session, { what: 'the same again', fromStdin: false, hint: command })
  if (again !== passphrase) throw usageError('these are two different passphrases; nothing was changed')
  return passphrase
}

function readFirstLine(file: string): string {
  let text: string
  try {
    text = readFileSync(file, 'utf8')
  } catch {
    throw usageError(`cannot read the passphrase file ${printable(file)}`)
  }
  const line = text.split(/\r?\n/, 1)[0] ?? ''
  if (line === '') throw usageError(`the first line of ${printable(file)} is empty`)
  return line
}
