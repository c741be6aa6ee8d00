/** What edits of the profile file change: digests before and after, the values they expect, and the way back. Pure. */

import { BrokerError } from '../base/errors.js'
import type { ProfileEdit, ProfileEntry, ProfileFile } from '../profiles/profile.js'
import { defined } from '../std/defined.js'
import { Secret, sha256Hex } from '../std/secret.js'
import type { TableNote, UndoEdit } from './journal.js'

const KEY = 'PREFECT_API_KEY'
const AUTH = 'PREFECT_API_AUTH_STRING'

/** Each setting of a profile's table with its value's fingerprint. */
type Table = ReadonlyMap<string, string>
type Tables = ReadonlyMap<string, Table>

export interface EditsPlan {
  readonly tables: readonly Pick<TableNote, 'profile' | 'found' | 'written'>[]
  readonly undo: readonly UndoEdit[]
  /** Whether `undo` brings back everything. */
  readonly isReversible: boolean
  /** The edits, each with the values that it expects. */
  readonly edits: readonly ProfileEdit[]
}

/** Of the profile's table in the file; null if there is none. */
export function tableDigest({ profiles }: ProfileFile, profile: string): string | null {
  return digestOf(tableOf(profiles.get(profile)))
}

/** Of all keys in the file. */
export function fingerprintsIn({ profiles }: ProfileFile): ReadonlySet<string> {
  return new Set([...profiles.values()].flatMap(({ apiKey }) => apiKey?.fingerprint() ?? []))
}

/** `profiles`: whose tables count. `keyItem`: where the vault has the key of a profile's table, if it has it. */
export function planEdits(
  file: ProfileFile,
  edits: readonly ProfileEdit[],
  profiles: readonly string[],
  keyItem: (profile: string) => string | undefined,
): EditsPlan {
  let tables: Tables = new Map([...file.profiles].map(([name, entry]) => [name, tableOf(entry) ?? new Map()]))
  const undo: UndoEdit[] = []
  let isReversible = true
  for (const edit of edits) {
    const back = undoOf(file, tables, edit, keyItem)
    if (back.edit !== undefined) undo.unshift(back.edit)
    if (edit.kind === 'rename' && file.active === edit.to) {
      // It was chosen before it had a table; renaming back takes the choice along.
      undo.push({ kind: 'set_active', name: edit.to, written: edit.name })
    }
    isReversible &&= back.isWhole
    tables = applied(tables, edit)
  }
  return {
    tables: profiles.map((profile) => ({
      profile,
      found: tableDigest(file, profile),
      written: digestOf(tables.get(profile)),
    })),
    undo,
    isReversible,
    edits: edits.map((edit) => expecting(file, edit)),
  }
}

function tableOf(entry: ProfileEntry | undefined): Table | undefined {
  if (entry === undefined) return undefined
  const { settings, apiKey, authString } = entry
  const values = Object.entries(settings).map(([name, value]) => [name, fingerprintOf(value)] as const)
  const secrets = [[KEY, apiKey?.fingerprint()] as const, [AUTH, authString?.fingerprint()] as const]
  return new Map([
    ...values,
    ...secrets.flatMap(([name, value]) => (value === undefined ? [] : [[name, value] as const])),
  ])
}

function digestOf(table: Table | undefined): string | null {
  if (table === undefined) return null
  return sha256Hex(JSON.stringify([...table].sort(([one], [other]) => (one < other ? -1 : 1)))).slice(0, 32)
}

function fingerprintOf(value: string | Secret): string {
  return (typeof value === 'string' ? new Secret(value) : value).fingerprint()
}

function applied(tables: Tables, edit: ProfileEdit): Tables {
  const next = new Map(tables)
  switch (edit.kind) {
    case 'set_active':
      break
    case 'delete':
      next.delete(edit.name)
      break
    case 'rename': {
      const table = next.get(edit.name)
      next.delete(edit.name)
      if (table !== undefined) next.set(edit.to, table)
      break
    }
    case 'create':
    case 'set': {
      const table = new Map(tables.get(edit.name))
      for (const [setting, value] of Object.entries(edit.settings)) {
        if (value === undefined) table.delete(setting)
        else table.set(setting, fingerprintOf(value))
      }
      const isNothing = table.size === 0 && !tables.has(edit.name) && edit.kind === 'set'
      if (!isNothing) next.set(edit.name, table)
    }
  }
  return next
}

function undoOf(
  file: ProfileFile,
  tables: Tables,
  edit: ProfileEdit,
  keyItem: (profile: string) => string | undefined,
): { readonly edit?: UndoEdit; readonly isWhole: boolean } {
  switch (edit.kind) {
    case 'set_active':
      return {
        isWhole: true,
        edit: { kind: 'set_active', name: file.active ?? null, ...defined({ written: edit.name }) },
      }
    case 'create':
      return { isWhole: true, edit: { kind: 'delete', name: edit.name } }
    case 'rename':
      return { isWhole: true, edit: { kind: 'rename', name: edit.to, to: edit.name } }
    case 'delete':
      return { isWhole: false }
    case 'set':
      if (!tables.has(edit.name)) return { isWhole: true, edit: { kind: 'delete', name: edit.name } }
      return undoOfSet(file.profiles.get(edit.name), edit, keyItem(edit.name))
  }
}

function undoOfSet(
  entry: ProfileEntry | undefined,
  { name, settings: written }: Extract<ProfileEdit, { kind: 'set' }>,
  keyItem: string | undefined,
): { readonly edit: UndoEdit; readonly isWhole: boolean } {
  const before = Object.keys(written).filter((setting) => setting !== KEY && setting !== AUTH)
  const settings: Record<string, string | null> = Object.fromEntries(
    before.map((setting) => [setting, entry?.settings[setting] ?? null]),
  )
  const key = entry?.apiKey
  const isKeyTouched = Object.hasOwn(written, KEY)
  if (isKeyTouched && (key === undefined || key.length === 0)) settings[KEY] = key === undefined ? null : ''
  const isKeyTaken = isKeyTouched && key !== undefined && key.length > 0
  const isAuthTaken = Object.hasOwn(written, AUTH) && entry?.authString !== undefined
  const restored = isKeyTaken && keyItem !== undefined ? { keyItem } : {}
  return {
    edit: { kind: 'set', name, settings, ...restored },
    isWhole: !isAuthTaken && (!isKeyTaken || keyItem !== undefined),
  }
}

/** The edit with what the file says now of the settings that it changes. */
export function expecting({ profiles }: ProfileFile, edit: ProfileEdit): ProfileEdit {
  if (edit.kind !== 'set') return edit
  const entry = profiles.get(edit.name)
  const unknown = new Set(
    [entry?.unusable, entry?.trimmed, entry?.notStrings].flatMap((names) => names ?? []),
  )
  const table = tableOf(entry) ?? new Map<string, string>()
  const expected = Object.fromEntries(
    Object.keys(edit.settings)
      .filter((setting) => !unknown.has(setting))
      .map((setting) => [setting, table.get(setting) ?? null]),
  )
  return { ...edit, expected }
}

export function fileChanged(path: string): BrokerError {
  return new BrokerError('profiles_file_changed', `cannot change ${path}: another program has changed it`, {
    hint: 'try again',
  })
}
