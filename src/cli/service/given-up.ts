/** What the daemon wrote down when it gave up on being started again and again (src/bin/authd-starts.ts). */
import { readFile, unlink } from 'node:fs/promises'
import { startBookPath } from '../../config/paths.js'

/** Why it stays down; `undefined` where it did not give up. */
export async function readGivenUp(stateDir: string): Promise<string | undefined> {
  try {
    const book: unknown = JSON.parse(await readFile(startBookPath(stateDir), 'utf8'))
    if (typeof book !== 'object' || book === null || !('givenUpAt' in book)) return undefined
    if (typeof book.givenUpAt !== 'number') return undefined
    return `every start failed, and the daemon gave up at ${new Date(book.givenUpAt).toISOString()}`
  } catch {
    return undefined
  }
}

/** It may try again. */
export async function forgetGivenUp(stateDir: string): Promise<void> {
  await unlink(startBookPath(stateDir)).catch(() => undefined)
}
