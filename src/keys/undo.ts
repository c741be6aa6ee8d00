/** Takes the edits of an undecided change back, where the file still says what they wrote; or finds it decided. */

import { BrokerError, isBrokerError } from '../base/errors.js'
import type { CloudApi } from '../prefect/cloud.js'
import type { ProfileEdit, ProfileFile, ProfileReading, ProfileStore } from '../profiles/profile.js'
import { defined } from '../std/defined.js'
import type { Secret } from '../std/secret.js'
import { expecting, fingerprintsIn, tableDigest } from './file-edits.js'
import type { ChangeEntry, TableNote, UndoEdit } from './journal.js'
import type { KeyKeeper } from './keeper.js'

interface PutBack {
  /** The file says what the change wrote, and that cannot be taken back: it is done. */
  readonly isDecided: boolean
  /** Items whose key was in the file when the change began, and is not there now. */
  readonly missing: readonly string[]
}

/** Rejects as `ProfileStore.edit` does, and if a key that belongs into the file cannot be read from the vault now. */
export async function putBack(
  entry: ChangeEntry,
  {
    store,
    keeper,
    isUntouched,
  }: {
    readonly store: ProfileStore
    readonly keeper: KeyKeeper
    /** The edits were refused: there is nothing to take back. */
    readonly isUntouched: boolean
  },
): Promise<PutBack> {
  const reading = await store.refresh({ force: true })
  if (isUntouched) return { isDecided: false, missing: missingFrom(reading.file, entry, keeper) }
  let file = fileOf(reading)
  const isWritten = isAs(file, entry, 'written')
  if (entry.decidedBy === 'file') {
    return { isDecided: isWritten && !isAs(file, entry, 'found'), missing: missingFrom(file, entry, keeper) }
  }
  if (isToBeTakenBack(file, entry) && isRecorded(entry, keeper)) {
    file = (await store.edit(entry.undo.map((edit) => editOf(file, edit, keeper)))).file
  }
  return { isDecided: false, missing: missingFrom(file, entry, keeper) }
}

/**
 * Of a change in an older copy of the journal: whether it was decided since, by what the file, the vault and Prefect say. Nothing
 * is taken back, and keys that only the vault has are `missing` from the file. Rejects if that cannot be known now; without
 * `cloud` Prefect is not asked.
 */
export async function recheck(
  entry: ChangeEntry,
  {
    store,
    keeper,
    cloud,
  }: {
    readonly store: ProfileStore
    readonly keeper: KeyKeeper
    readonly cloud?: Pick<CloudApi, 'workspaces'>
  },
): Promise<PutBack> {
  const file = fileOf(await store.refresh({ force: true }))
  const { forget, auth, promote } = entry.outcome
  const isForgotten =
    forget === undefined || entry.decidedBy === 'file' || !forget.items.some((item) => isHeld(keeper, item))
  const isDecided =
    isAs(file, entry, 'written') &&
    isForgotten &&
    (auth?.item === undefined || isHeld(keeper, auth.item)) &&
    (promote === undefined || (await mayBecomeCurrent(entry, promote, keeper, cloud)))
  const inFile = fingerprintsIn(file)
  const missing = entry.created.filter((item) => {
    const record = keeper.ledger().keys[item]
    return record !== undefined && !inFile.has(record.fingerprint) && isHeld(keeper, item)
  })
  return { isDecided, missing }
}

/** A key fills a gap, as long as nothing newer has; it replaces another one only if Prefect takes it. */
async function mayBecomeCurrent(
  { tables }: ChangeEntry,
  { profile, item }: { readonly profile: string; readonly item: string },
  keeper: KeyKeeper,
  cloud: Pick<CloudApi, 'workspaces'> | undefined,
): Promise<boolean> {
  const key = isHeld(keeper, item) ? keeper.keyOf(item) : undefined
  const cloudApiUrl = keeper.ledger().keys[item]?.cloudApiUrl
  if (key === undefined || cloudApiUrl === undefined) return false
  const { currentItem } = keeper.profile(profile)
  if (currentItem === undefined || currentItem === item) return true
  if (currentItem !== tables.find((table) => table.profile === profile)?.item) return false
  if (cloud === undefined) throw new BrokerError('prefect_unreachable', 'Prefect is not asked now')
  try {
    await cloud.workspaces({ cloudApiUrl, key })
    return true
  } catch (error) {
    if (isBrokerError(error, 'key_rejected', 'key_malformed')) return false
    throw error
  }
}

/** Whether the vault has the item. Throws if it cannot be read now. */
function isHeld(keeper: KeyKeeper, item: string): boolean {
  const held = keeper.held(item)
  if (held.kind === 'failed') throw held.error
  return held.kind === 'held'
}

/** Throws if nothing can be said about the file now. */
function fileOf({ state, path, problem, file }: ProfileReading): ProfileFile {
  if (state === 'invalid' || state === 'unreadable' || state === 'empty') {
    throw new BrokerError('profiles_file_unreadable', `cannot look at ${path}: ${problem ?? state}`)
  }
  return state === 'missing' ? { profiles: new Map() } : file
}

/** The file as it was before the change, as far as the profiles of the change go; undefined if it does not say what was written. */
export function fileBefore(
  file: ProfileFile,
  entry: ChangeEntry,
  keeper: KeyKeeper,
): ProfileFile | undefined {
  if (!isToBeTakenBack(file, entry)) return undefined
  return entry.undo.reduce((now, edit) => before(now, edit, keeper), file)
}

function before(file: ProfileFile, undo: UndoEdit, keeper: KeyKeeper): ProfileFile {
  if (undo.kind === 'set_active') {
    const { active, ...rest } = file
    return isChosenSince(file, undo) ? file : { ...rest, ...defined({ active: undo.name ?? undefined }) }
  }
  const profiles = new Map(file.profiles)
  const table = profiles.get(undo.name)
  if (undo.kind !== 'set') profiles.delete(undo.name)
  if (table === undefined) return { ...file, profiles }
  if (undo.kind === 'rename') profiles.set(undo.to, { ...table, name: undo.to })
  if (undo.kind === 'set') {
    const { PREFECT_API_KEY: _, ...plain } = undo.settings
    const settings = Object.entries({ ...table.settings, ...plain }).flatMap(([name, value]) =>
      value === null ? [] : [[name, value] as const],
    )
    const apiKey = undo.keyItem === undefined ? undefined : keeper.keyOf(undo.keyItem)
    profiles.set(undo.name, { ...table, settings: Object.fromEntries(settings), ...defined({ apiKey }) })
  }
  return { ...file, profiles }
}

/** The file says what the change wrote there, and not what it found. */
function isToBeTakenBack(file: ProfileFile, entry: ChangeEntry): boolean {
  if (!isAs(file, entry, 'written') || entry.undo.length === 0) return false
  const isActiveOurs = entry.undo.some(
    (undo) => undo.kind === 'set_active' && undo.name !== (file.active ?? null) && !isChosenSince(file, undo),
  )
  return isActiveOurs || !isAs(file, entry, 'found')
}

/** Every key has its record before the file is edited. Without one the edits were not begun: another program wrote the same. */
function isRecorded({ undo, created, outcome }: ChangeEntry, keeper: KeyKeeper): boolean {
  const { keys } = keeper.ledger()
  const taken = undo.flatMap((edit) => (edit.kind === 'set' ? (edit.keyItem ?? []) : []))
  return [...taken, ...created].every((item) => item in keys || item === outcome.auth?.item)
}

function isChosenSince(
  { active }: ProfileFile,
  { written }: Extract<UndoEdit, { kind: 'set_active' }>,
): boolean {
  return written !== undefined && active !== written
}

/** Whether the file says what the change and its edits write. */
export function isWrittenBy(file: ProfileFile, entry: ChangeEntry, edits: readonly ProfileEdit[]): boolean {
  const isActive = edits.every((edit) => edit.kind !== 'set_active' || file.active === edit.name)
  // What another program does to a table that the change leaves alone says nothing of it.
  const isTable = ({ profile, found, written }: TableNote) =>
    found === written || tableDigest(file, profile) === written
  return isActive && entry.tables.every(isTable)
}

function isAs(file: ProfileFile, { tables }: ChangeEntry, which: 'found' | 'written'): boolean {
  return tables.every((table) => tableDigest(file, table.profile) === table[which])
}

function editOf(file: ProfileFile, undo: UndoEdit, keeper: KeyKeeper): ProfileEdit {
  if (undo.kind === 'set_active') {
    const { kind, name, written } = undo
    return { kind, name: name ?? undefined, ...defined({ ifActive: written }) }
  }
  if (undo.kind !== 'set') return undo
  const { kind, name, keyItem } = undo
  const plain = Object.entries(undo.settings).map(
    ([setting, value]) => [setting, value ?? undefined] as const,
  )
  const key = keyItem === undefined ? [] : [['PREFECT_API_KEY', requireKey(keeper, keyItem)] as const]
  const settings: Record<string, string | Secret | undefined> = Object.fromEntries([...plain, ...key])
  return expecting(file, { kind, name, settings })
}

function requireKey(keeper: KeyKeeper, item: string): Secret {
  const key = keeper.keyOf(item)
  if (key !== undefined) return key
  const held = keeper.held(item)
  if (held.kind === 'failed') throw held.error
  throw new BrokerError('vault_unavailable', `the vault does not have ${item}`)
}

function missingFrom(file: ProfileFile, { keys }: ChangeEntry, keeper: KeyKeeper): readonly string[] {
  return keys.flatMap(({ item, profile }) => {
    if (profile === undefined) return []
    const fingerprint = keeper.ledger().keys[item]?.fingerprint
    const isThere = file.profiles.get(profile)?.apiKey?.fingerprint() === fingerprint
    return fingerprint === undefined || isThere ? [] : [item]
  })
}
