/** Foreign text inside a command that a person may copy. */
import { printable } from './printable.js'

/** One word for a POSIX shell, whatever the text holds. */
export function shellWord(text: string): string {
  const clean = printable(text)
  return /^[A-Za-z0-9_.@%+=:,/-]+$/.test(clean) ? clean : `'${clean.replaceAll("'", `'\\''`)}'`
}
