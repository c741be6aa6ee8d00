/**
 * One durable JSON document in the state directory. A corrupt file is kept aside, never overwritten; the version before
 * the last one stands in for it.
 */

import { copyFile, link, readdir, rename, unlink } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import type { z } from 'zod'
import { BrokerError } from '../base/errors.js'
import { createSerial } from '../std/async.js'
import { defined } from '../std/defined.js'
import type { Log } from '../std/log.js'
import { writeFileAtomic } from './atomic-file.js'
import { readPrivateFile } from './private-files.js'

interface OpenDocumentDeps<T> {
  readonly path: string
  readonly schema: z.ZodType<T>
  /** What a document that never was holds. */
  readonly empty: T
  /** Epoch ms; names the file that is kept aside. */
  readonly now: () => number
  readonly log: Log
}

interface OpenedDocument<T> extends Document<T> {
  /** What happened at opening that a person should know. */
  readonly notice?: string
}

type Loaded<T> =
  | { readonly kind: 'good'; readonly value: T }
  | { readonly kind: 'missing' }
  | { readonly kind: 'corrupt' }

/** Rejects with `state_dir_unsafe` for a file that others can read, and `disk_failed` for one that can't be read. */
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

/** The current version, else the one before it, else nothing. */
async function loadBest<T>(deps: OpenDocumentDeps<T>): Promise<{ value: T; notice?: string }> {
  const { path, empty, log } = deps
  const current = await load(deps, path)
  if (current.kind === 'good') return { value: current.value }
  const previous = await load(deps, previousPath(path))
  if (current.kind === 'missing' && previous.kind === 'missing') return { value: empty }
  const said = [
    ...(current.kind === 'corrupt' ? [await keepAside(deps, path)] : [`${path} is missing`]),
    ...(previous.kind === 'corrupt' ? [await keepAside(deps, previousPath(path))] : []),
  ]
  if (previous.kind !== 'good') return { value: empty, notice: `${said.join('; ')}; it starts empty` }
  // Written down at once: the next start must not depend on the older file again.
  await save(path, previous.value).catch((error: unknown) =>
    log.error({ path, error }, 'a state file could not be restored on the disk'),
  )
  return { value: previous.value, notice: `${said.join('; ')}; the version before it is used` }
}

/** What a writer that was killed left behind. Only the holder of the state lock opens documents: nobody is writing. */
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

function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT'
}

async function keepAside<T>({ now, log }: OpenDocumentDeps<T>, path: string): Promise<string> {
  const aside = `${path}.corrupt-${new Date(now()).toISOString().replaceAll(':', '-')}`
  await rename(path, aside)
  log.error({ path, aside }, 'a state file was corrupt and is kept aside')
  return `${path} was corrupt and is kept as ${aside}`
}

async function save(path: string, value: unknown): Promise<void> {
  try {
    await writeFileAtomic(path, `${JSON.stringify(value)}\n`, { beforeRename: () => keepPrevious(path) })
  } catch (error) {
    throw new BrokerError('disk_failed', `writing ${path} failed`, {
      hint: 'free some space, or mend the disk',
      cause: error,
    })
  }
}

/**
 * A second name for the current content, once the new one is safely on the disk; the rename that follows takes the first
 * name away from it. Without a current file the version before it stays what it is.
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
/** A durable JSON document: `save` resolves when it will survive a power cut. */

export interface Document<T> {
  read(): T
  /** Replaces the document by `change(read())`, one at a time; the new value is visible once it is durable. */
  update(change: (current: T) => T): Promise<T>
}
