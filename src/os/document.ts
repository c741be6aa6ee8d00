/** Durable JSON documents in the state directory, each with its format, its sequence number and its previous version. */

import { copyFile, link, rename, unlink } from 'node:fs/promises'
import type { z } from 'zod'
import { BrokerError, isBrokerError } from '../base/errors.js'
import { defined } from '../std/defined.js'
import type { Log } from '../std/log.js'
import { type OnRefused, writeFileAtomic } from './atomic-file.js'
import { createKeptValue } from './kept-value.js'
import { readPrivateFile } from './private-files.js'
import { ASIDE, type Aside, isObject, type RecordKinds, siftRecords } from './records.js'
import { diskFailed, isMissing } from './system-error.js'

export interface Document<T> {
  read(): T
  /**
   * Replaces the document by `change(read())`, one at a time. The new value is visible once it survives a power cut. Updates
   * that wait together are one write: if it fails, all of them reject, and none of them has happened.
   */
  update(change: (current: T) => T): Promise<T>
}

/** A document whose memory counts, whatever the disk does. */
export interface NotedDocument<T> extends Document<T> {
  /**
   * For what has happened and cannot be refused: visible even if the disk fails, and written once it works. Notes that
   * wait together are one write. Never rejects. Returns whether it is durable.
   */
  note(change: (current: T) => T): Promise<boolean>
}

export interface OpenedDocument<T> extends NotedDocument<T> {
  /** What a person should know about the opening. */
  readonly notices: readonly string[]
  /** `missing`: it was never written. `lost`: neither version could be read. */
  readonly origin: 'current' | 'previous' | 'missing' | 'lost'
  /** The format on the disk; undefined if there was none. */
  readonly format: number | undefined
  /** Counts the writes: an old copy has a smaller one. */
  seq(): number
  /** Why the disk does not have what memory has. */
  problem(): BrokerError | undefined
  /** Writes what the disk lacks. Never rejects. */
  retry(): Promise<void>
  /** Whether the file still is what was read or written last. */
  isOurs(): Promise<boolean>
}

interface OpenDocumentDeps<T> {
  readonly path: string
  readonly schema: z.ZodType<T>
  /** The value of a document that was never written. */
  readonly empty: T
  /** Written into the file; a file with a higher one is refused, one without has format 1. */
  readonly format: number
  /** Turns the document of an older format into one of this format. */
  readonly takeOver?: (
    raw: Readonly<Record<string, unknown>>,
    format: number,
  ) => Readonly<Record<string, unknown>>
  /** Lists whose records are understood or set aside one by one. */
  readonly records?: RecordKinds
  /** Epoch ms; names the copy of a corrupt file. */
  readonly now: () => number
  readonly log: Log
  /** Called before every write; what it throws prevents that write. */
  readonly permit?: () => void
  /** Called when the disk begins to fail, with the reason, and when memory is on the disk again. */
  readonly onProblem?: (problem: BrokerError | undefined) => void
  /** Called for what the file was written without, at every write. */
  readonly onRefused?: OnRefused
  /** Replaces the file; tests fail here. */
  readonly write?: typeof writeFileAtomic
}

interface Good<T> {
  readonly kind: 'good'
  readonly value: T
  readonly aside: Aside
  readonly names: readonly string[]
  readonly format: number
  readonly seq: number
}

type Loaded<T> = Good<T> | { readonly kind: 'missing' } | { readonly kind: 'corrupt' }

/**
 * Opens the current version, else the previous one, else `empty`. A corrupt file is renamed, never overwritten. Rejects with
 * `state_dir_unsafe` for a file that others can read, `state_newer` for one of a newer format, and `disk_failed` for one that
 * cannot be read; nothing has changed then. `update` rejects with `disk_failed`.
 */
export async function openDocument<T>(deps: OpenDocumentDeps<T>): Promise<OpenedDocument<T>> {
  const { path, log, format, permit, write = writeFileAtomic } = deps
  const { origin, notices, found } = await readDocument(deps)
  let seq = found?.seq ?? 0
  /** The last one that is certainly on the disk. */
  let written = seq
  let problem: BrokerError | undefined

  /** Told once per outage: a full disk is no reason to fill it with log lines. */
  const setProblem = (found: BrokerError | undefined): void => {
    const isNews = found?.message !== problem?.message
    problem = found
    if (!isNews) return
    if (found === undefined) log.info({ path }, 'state file written again')
    else log.error({ path, error: found }, 'state file not written; will retry')
    deps.onProblem?.(found)
  }

  const save = async (next: T): Promise<void> => {
    seq += 1
    const content = { format, seq, ...next, ...(hasAny(found?.aside) ? { [ASIDE]: found?.aside } : {}) }
    try {
      permit?.()
      const { onRefused } = deps
      const how = { beforeRename: () => keepPrevious(path), ...defined({ onRefused }) }
      await write(path, `${JSON.stringify(content)}\n`, how)
      written = seq
      setProblem(undefined)
    } catch (error) {
      const failure = isBrokerError(error) ? error : diskFailed('write', path, error)
      setProblem(failure)
      throw failure
    }
  }
  const isOld = origin === 'previous'
  const { read, update, note, retry } = createKeptValue(found?.value ?? deps.empty, save, isOld || undefined)

  // Saved at once: the next start must not depend on the previous version again.
  if (isOld) await retry()
  return {
    notices,
    origin,
    format: found?.format,
    ...{ read, update, note, retry },
    seq: () => seq,
    problem: () => problem,
    async isOurs() {
      const onDisk = await load(deps, path).catch(() => undefined)
      return onDisk?.kind === 'good'
        ? onDisk.seq === written
        : onDisk?.kind === 'missing' && found === undefined
    },
  }
}

function hasAny(aside: Aside | undefined): boolean {
  return aside !== undefined && Object.keys(aside).length > 0
}

interface Best<T> {
  readonly origin: OpenedDocument<T>['origin']
  readonly notices: readonly string[]
  readonly found?: Good<T>
}

/** Reads a document as {@link openDocument} does, and rejects like it; writes nothing but the names of corrupt files. */
export async function readDocument<T>(deps: OpenDocumentDeps<T>): Promise<Best<T>> {
  const { path } = deps
  const current = await load(deps, path)
  if (current.kind === 'good')
    return { origin: 'current', notices: notUnderstood(path, current), found: current }
  const previous = await load(deps, previousPath(path))
  if (current.kind === 'missing' && previous.kind === 'missing') return { origin: 'missing', notices: [] }
  const findings = [
    ...(current.kind === 'corrupt' ? [await keepAside(deps, path)] : [`${path} is missing`]),
    ...(previous.kind === 'corrupt' ? [await keepAside(deps, previousPath(path))] : []),
  ]
  if (previous.kind !== 'good') return { origin: 'lost', notices: [`${findings.join('; ')}; starting empty`] }
  return {
    origin: 'previous',
    notices: [`${findings.join('; ')}; using the previous version`, ...notUnderstood(path, previous)],
    found: previous,
  }
}

function notUnderstood<T>(path: string, { names }: Good<T>): readonly string[] {
  return names.map((name) => `${path}: this version does not understand ${name}; it is kept and not used`)
}

function previousPath(path: string): string {
  return `${path}.previous`
}

async function load<T>(deps: OpenDocumentDeps<T>, path: string): Promise<Loaded<T>> {
  const content = await readPrivateFile(path)
  if (content === undefined) return { kind: 'missing' }
  const raw = parseObject(content.toString('utf8'))
  if (raw === undefined) return { kind: 'corrupt' }
  requireKnownFormat(path, raw, deps.format)
  const { format = 1 } = raw
  if (typeof format !== 'number' || !Number.isInteger(format) || format < 1) return { kind: 'corrupt' }
  const seq = typeof raw.seq === 'number' && Number.isSafeInteger(raw.seq) && raw.seq >= 0 ? raw.seq : 0
  const { known, aside, names } = siftRecords(
    format < deps.format ? (deps.takeOver?.(raw, format) ?? raw) : raw,
    deps.records ?? {},
  )
  const parsed = deps.schema.safeParse(known)
  return parsed.success
    ? { kind: 'good', value: parsed.data, aside, names, format, seq }
    : { kind: 'corrupt' }
}

function parseObject(text: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(text)
    return isObject(value) ? value : undefined
  } catch {
    return undefined
  }
}

/** Throws `state_newer` if `raw` has a higher format, or `version`, than `known`. One wording for each state file. */
export function requireKnownFormat(path: string, raw: unknown, known: number): void {
  if (!isObject(raw)) return
  const format = raw.format ?? raw.version
  if (typeof format !== 'number' || format <= known) return
  throw new BrokerError(
    'state_newer',
    `cannot use ${path}: a newer version wrote it (format ${format}; this version knows ${known})`,
    { hint: 'check the version: install the newer prefect-auth-broker again (README.md, Install)' },
  )
}

/** Never rejects: on a disk that cannot be written the damaged file stays where it is. */
async function keepAside<T>({ now, log, permit }: OpenDocumentDeps<T>, path: string): Promise<string> {
  const aside = `${path}.corrupt-${new Date(now()).toISOString().replaceAll(':', '-')}`
  try {
    permit?.()
    await rename(path, aside)
  } catch (error) {
    log.error({ path, error }, 'state file corrupt; not renamed')
    return `${path} is corrupt`
  }
  log.error({ path, aside }, 'state file corrupt; kept aside')
  return `${path} was corrupt and was renamed to ${aside}`
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
