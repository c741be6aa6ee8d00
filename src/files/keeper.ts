/** Keeps files at what is served: replaces each at a new generation, removes it at a log-out, and overwrites nobody's. */

import { dirname } from 'node:path'
import type { Audit } from '../audit/audit.js'
import { BrokerError, isBrokerError } from '../base/errors.js'
import type { Events } from '../base/events.js'
import { sweepTemporaryFilesOf } from '../os/atomic-file.js'
import type { NotedDocument } from '../os/document.js'
import { isReadOnly, readKeptFile, removeKeptFile, resolveKeptPath, writeKeptFile } from '../os/kept-file.js'
import type { Served } from '../serve/credentials.js'
import type { ServingCredentials } from '../serve/serve.js'
import { createSerial } from '../std/async.js'
import type { Clock } from '../std/clock.js'
import { defined } from '../std/defined.js'
import type { Log } from '../std/log.js'
import { Secret } from '../std/secret.js'
import { quoteWord } from '../std/text.js'
import type { FileList, FileRecord, Files, KeptFile } from './files.js'
import { renderFile } from './render.js'

interface FileKeeperParts {
  readonly document: NotedDocument<FileList>
  readonly credentials: Pick<ServingCredentials, 'markHandedOut' | 'refresh' | 'serve' | 'settle' | 'state'>
  readonly events: Pick<Events, 'onEvent'>
  readonly audit: Pick<Audit, 'record'>
  readonly clock: Clock
  readonly log: Log
  /** Of `profiles.toml`, which has its own writer. */
  readonly profilesFile: () => string
}

export interface FileKeeper extends Files {
  close(): Promise<void>
}

type Outcome = Pick<KeptFile, 'state' | 'problem'>

/** A profile without credentials has no file; any other failure leaves it as it is, as a job keeps its key. */
const WITHOUT: readonly string[] = ['login_required', 'profile_not_found']

export function createFileKeeper(parts: FileKeeperParts): FileKeeper {
  const { document, credentials, events, audit, clock, log, profilesFile } = parts
  const serial = createSerial()
  const outcomes = new Map<string, Outcome>()
  /** Free of what a daemon that was killed may have left beside them, with a key. */
  const swept = new Set<string>()
  let isClosed = false

  const find = (path: string) => document.read().files.find((one) => one.path === path)
  const note = (path: string, written: readonly string[]) =>
    document.note(({ files }) => ({
      files: files.map((one) => (one.path === path ? { ...one, written } : one)),
    }))

  /** What is served, or `undefined` if there is nothing to be written. */
  const servedFor = ({ profile }: FileRecord): Served | undefined => {
    try {
      const served = credentials.serve(profile)
      return served.kind === 'none' ? undefined : served
    } catch (error) {
      if (isBrokerError(error) && WITHOUT.includes(error.code)) return undefined
      throw error
    }
  }

  const requireOurs = async (record: FileRecord, isReplacing: boolean): Promise<string | undefined> => {
    const found = await readKeptFile(record.path)
    if (found === undefined || isReplacing || isWritten(record, found)) return found
    throw new BrokerError('file_exists', `cannot write ${record.path}: it is not as prefect-authd left it`, {
      hint: `prefect-auth file add ${quoteWord(record.path)} --what ${record.what} --replace`,
    })
  }

  const write = async (record: FileRecord, served: Served, isReplacing: boolean): Promise<void> => {
    // What cannot be rendered is not handed out.
    renderFile(record.what, served)
    const given = await credentials.markHandedOut(served)
    const text = renderFile(record.what, given)
    const found = await requireOurs(record, isReplacing)
    if (found === text) return
    const next = fingerprintOf(text)
    // Before the file: after a crash, or if the file is not written, however often, either text is known as ours.
    const before = found !== undefined && isWritten(record, found) ? [fingerprintOf(found)] : []
    await note(record.path, [...before, next])
    await writeKeptFile(record.path, text, async () => void (await requireOurs(record, isReplacing)))
    await note(record.path, [next])
    const { profile, key } = given
    const facts = { profile, ...defined({ fingerprint: key?.fingerprint }) }
    audit.record({ action: 'file', outcome: 'given', door: 'daemon', ...facts }, { isUrgent: true })
  }

  const keep = async (record: FileRecord, isReplacing = false): Promise<Outcome> => {
    await requireSamePlace(record.path)
    // Also if it is current, or there is nothing to write: the next text would not get there.
    await requireWritable(record)
    if (!swept.has(record.path)) await sweepTemporaryFilesOf(record.path)
    swept.add(record.path)
    const served = servedFor(record)
    if (served !== undefined) {
      await write(record, served, isReplacing)
      return { state: 'current' }
    }
    // One that somebody changed may still have a key: it is not said to be gone.
    const found = await requireOurs(record, isReplacing)
    if (found !== undefined && isWritten(record, found)) await removeKeptFile(record.path)
    return { state: 'absent' }
  }

  const tryToKeep = async (record: FileRecord): Promise<void> => {
    try {
      outcomes.set(record.path, await keep(record))
    } catch (error) {
      const problem = isBrokerError(error)
        ? error
        : new BrokerError('internal', 'the file was not written', { cause: error })
      if (outcomes.get(record.path)?.problem?.message !== problem.message)
        log.warn({ path: record.path, error }, 'file not kept up to date; will retry')
      outcomes.set(record.path, { state: 'problem', problem })
    }
  }

  const look = () =>
    serial.run(async () => {
      const { files } = document.read()
      if (isClosed || files.length === 0) return
      await credentials.settle()
      for (const { path } of files) {
        const record = find(path)
        if (record !== undefined) await tryToKeep(record)
      }
    })
  const lookSoon = () => {
    look().catch((error: unknown) => log.error({ error }, 'files not looked at; will retry'))
  }
  const stop = events.onEvent(({ type }) => {
    if (type === 'credentials.changed' || type === 'profiles.changed') lookSoon()
  })

  const view = (record: FileRecord): KeptFile => {
    const { written: _, ...facts } = record
    return { ...facts, state: 'absent', ...outcomes.get(record.path) }
  }

  return {
    look,
    add: ({ path: given, what, profile, isReplacing }) =>
      serial.run(async () => {
        await credentials.refresh()
        // Throws for a mistyped name.
        credentials.state(profile)
        const path = await resolveKeptPath(given)
        if (path === (await resolveKeptPath(profilesFile()).catch(profilesFile))) throw isProfilesFile(path)
        const before = find(path)
        const record = { path, what, addedAt: clock.now(), ...defined({ profile, written: before?.written }) }
        await requireOurs(record, isReplacing)
        await document.update(({ files }) => ({
          files: [...files.filter((one) => one.path !== path), record],
        }))
        try {
          outcomes.set(path, await keep(record, isReplacing))
        } catch (error) {
          // Listed nevertheless: the command line opens the service's sandbox for the directories that are listed.
          if (isBrokerError(error, 'file_path_read_only'))
            outcomes.set(path, { state: 'problem', problem: error })
          else {
            await document.update(({ files }) => ({
              files: [...files.filter((one) => one.path !== path), ...(before === undefined ? [] : [before])],
            }))
            throw error
          }
        }
        return view(record)
      }),
    list: () => document.read().files.map(view),
    remove: (given) =>
      serial.run(async () => {
        const path = find(given)?.path ?? (await resolveKeptPath(given).catch(() => given))
        const record = find(path)
        if (record === undefined) {
          throw new BrokerError('file_not_found', `no file is kept at ${path}`, {
            hint: 'prefect-auth file ls',
          })
        }
        const found = await readKeptFile(path).catch(() => '')
        const isRemoved = found !== undefined && isWritten(record, found)
        // The file goes before its record: without a record nothing would ever take the key out of it.
        if (isRemoved) {
          await requireWritable(record)
          await removeKeptFile(path)
        }
        await sweepTemporaryFilesOf(path)
        await document.update(({ files }) => ({ files: files.filter((one) => one.path !== path) }))
        outcomes.delete(path)
        return { path, isRemoved }
      }),
    async close() {
      isClosed = true
      stop()
      await serial.run(async () => undefined)
    },
  }
}

function isWritten({ written = [] }: FileRecord, text: string): boolean {
  return written.includes(fingerprintOf(text))
}

/** With the key of this installation, as the text may have a password. */
function fingerprintOf(text: string): string {
  return new Secret(`file:${text}`).fingerprint()
}

/** The directory may be another one by now. */
async function requireSamePlace(path: string): Promise<void> {
  const now = await resolveKeptPath(path)
  if (now === path) return
  throw new BrokerError('file_path_unsafe', `cannot use ${path}: its directory has become a link`, {
    hint: `prefect-auth file rm ${quoteWord(path)}`,
  })
}

async function requireWritable({ path, what, profile }: FileRecord): Promise<void> {
  if (!(await isReadOnly(dirname(path)))) return
  const pinned = profile === undefined ? '' : ` --profile ${quoteWord(profile)}`
  throw new BrokerError(
    'file_path_read_only',
    `cannot write ${path}: the sandbox of the service does not let the daemon write there, or the disk is read-only`,
    { hint: `prefect-auth file add ${quoteWord(path)} --what ${what}${pinned}` },
  )
}

function isProfilesFile(path: string): BrokerError {
  return new BrokerError('file_path_unsafe', `cannot use ${path}: it is Prefect's own profile file`, {
    hint: 'set profiles.mirror = true, which keeps the current key in it',
  })
}
