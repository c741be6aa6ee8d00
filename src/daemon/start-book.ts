/** The file that counts starts which did not end well. What can't be read counts as empty: it must not keep a daemon down. */
import { unlink } from 'node:fs/promises'
import { z } from 'zod'
import { writeFileAtomic } from '../os/atomic-file.js'
import { readPrivateFile } from '../os/private-files.js'
import type { StartBook } from './count-starts.js'

const schema = z.object({ starts: z.array(z.number()), givenUpAt: z.number().optional() })

export async function readStartBook(path: string): Promise<StartBook> {
  try {
    const { starts, givenUpAt } = schema.parse(JSON.parse(String(await readPrivateFile(path))))
    return { starts, ...(givenUpAt === undefined ? {} : { givenUpAt }) }
  } catch {
    return { starts: [] }
  }
}

export async function writeStartBook(path: string, book: StartBook): Promise<void> {
  await writeFileAtomic(path, `${JSON.stringify(book)}\n`)
}

/** Nothing is counted any more. Never rejects. */
export async function clearStartBook(path: string): Promise<void> {
  await unlink(path).catch(() => undefined)
}
