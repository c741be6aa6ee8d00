/** Durable JSON documents in the state directory, each with its previous version beside it. */

import { copyFile, link, readdir, rename, unlink } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import type { z } from 'zod'
import { createSerial } from '../std/async.js'
import { defined } from '../std/defined.js'
import type { Log } from '../std/log.js'
import { writeFileAtomic } from './atomic-file.js'
import { readPrivateFile } from './private-files.js'
import { diskFailed, isMissing } from './system-error.js'

export interface Document<T> {
  read(): T
  /** Replaces the document by `change(read())`, one at a time. The new value is visible once it survives a power cut. */
  update(change: (current: T) => T): Promise<T>
}

interface OpenDocumentDeps<T> {
  readonly path: string
  readonly schema: z.ZodType<T>
  /** The value of a document that was never written. */
  readonly empty: T
  /** Epoch ms; names the copy of a corrupt file. */
  readonly now: () => number
  readonly log: Log
}

interface OpenedDocument<T> extends Document<T> {
  /** What a person should know about the opening. */
  readonly notice?: string
}

type Loaded<T> =
  | { readonly kind: 'good'; readonly value: T }
  | { readonly kind: 'missing' }
  | { readonly kind: 'corrupt' }

/**
 * Opens the current version, else the previous one, else `empty`. A corrupt file is renamed, never overwritten. Rejects with
 * `state_dir_unsafe` for a file that others can read, and `disk_failed` for one that cannot be read; `update` with
 * `disk_failed`.
 */
export async function openDocument<T>(deps: OpenDocumentDeps<T>): Promise<OpenedDocument<T>> {
  const { path } = deps
  await sweep(path)
  const { notice, ...opened } = await loadBest(deps)
  let { value } = opened
  const serial = createSerial()
  return {
    ...defined({ notice }),
    read: () => value,
    update: (change) =>
      serial.run(async () => {
        const next = change(value)
        if (next === value) return value
        await save(path, next)
        value = next
        return next
      }),
  }
}

async function loadBest<T>(deps: OpenDocumentDeps<T>): Promise<{ value: T; notice?: string }> {
  const { path, empty, log } = deps
  const current = await load(deps, path)
  if (current.kind === 'good') return { value: current.value }
  const previous = await load(deps, previousPath(path))
  if (current.kind === 'missing' && previous.kind === 'missing') return { value: empty }
  const findings = [
    ...(current.kind === 'corrupt' ? [await keepAside(deps, path)] : [`${path} is missing`]),
    ...(previous.kind === 'corrupt' ? [await keepAside(deps, previousPath(path))] : []),
  ]
  if (previous.kind !== 'good') return { value: empty, notice: `${findings.join('; ')}; starting empty` }
  // Saved at once: the next start must not depend on the previous version again.
  await save(path, previous.value).catch((error: unknown) =>
    log.error({ path, error }, 'state file not restored on disk'),
  )
  return { value: previous.value, notice: `${findings.join('; ')}; using the previous version` }
}

/** Removes what a killed writer left. Only the holder of the state lock opens documents: nobody else is writing. */
async function sweep(path: string): Promise<void> {
  const names = await readdir(dirname(path)).catch(() => [])
  const left = names.filter((name) => name.startsWith(`${basename(path)}.`) && name.endsWith('.tmp'))
  for (const name of left) await unlink(join(dirname(path), name)).catch(() => undefined)
}

function previousPath(path: string): string {
  return `${path}.previous`
}

async function load<T>({ schema }: OpenDocumentDeps<T>, path: string): Promise<Loaded<T>> {
  const content = await readPrivateFile(path)
  if (content === undefined) return { kind: 'missing' }
  try {
    const parsed = schema.safeParse(JSON.parse(content.toString('utf8')))
    return parsed.success ? { kind: 'good', value: parsed.data } : { kind: 'corrupt' }
  } catch {
    return { kind: 'corrupt' }
  }
}

async function keepAside<T>({ now, log }: OpenDocumentDeps<T>, path: string): Promise<string> {
  const aside = `${path}.corrupt-${new Date(now()).toISOString().replaceAll(':', '-')}`
  await rename(path, aside)
  log.error({ path, aside }, 'state file corrupt; kept aside')
  return `${path} was corrupt and was renamed to ${aside}`
}

async function save(path: string, value: unknown): Promise<void> {
  try {
    await writeFileAtomic(path, `${JSON.stringify(value)}\n`, { beforeRename: () => keepPrevious(path) })
  } catch (error) {
    throw diskFailed('write', path, error)
  }
}

/**
 * Gives the current content a second name, once the new content is on the disk; the rename that follows takes the first
 * name away from it. Without a current file the previous version stays.
 */
async function keepPrevious(path: string): Promise<void> {
  const second = `${previousPath(path)}.tmp`
  await unlink(second).catch(() => undefined)
  try {
    // Not every file system has hard links.
    await link(path, second).catch((error: unknown) => {
      if (isMissing(error)) throw error
      return copyFile(path, second)
    })
    await rename(second, previousPath(path))
  } catch (error) {
    if (!isMissing(error)) throw error
  } finally {
    // A rename between two names of one file does nothing and leaves both.
    await unlink(second).catch(() => undefined)
  }
}
