/** Parses the text of `profiles.toml` with smol-toml, and keeps what Prefect would keep. */

import { parse, TomlDate, TomlError, type TomlTable, type TomlValue } from 'smol-toml'
import { defined } from '../std/defined.js'
import { Secret } from '../std/secret.js'
import type { ProfileEntry, ProfileFile } from './profile.js'

/** A profiles file has a few kilobytes; reading more than this would only cost time and memory. */
export const MAX_PROFILES_BYTES = 1024 * 1024
/** Values nested deeper than this are an attack, not a setting. */
const MAX_DEPTH = 20
const BYTE_ORDER_MARK = '\ufeff'

type ParsedProfiles =
  | { readonly kind: 'good'; readonly file: ProfileFile; readonly tree: TomlTable }
  /** `problem` completes a sentence that starts with the file's name; it contains no text from the file. */
  | { readonly kind: 'invalid'; readonly problem: string }

/** Never throws. `tree` is the whole document, for edits that must keep what we do not know. */
export function parseProfiles(text: string): ParsedProfiles {
  if (Buffer.byteLength(text) > MAX_PROFILES_BYTES)
    return { kind: 'invalid', problem: 'is larger than 1 MiB' }
  try {
    const tree = parse(text.startsWith(BYTE_ORDER_MARK) ? text.slice(1) : text, {
      integersAsBigInt: true,
      maxDepth: MAX_DEPTH,
    })
    // The parser does not count the tables that a dotted path makes.
    if (isDeeper(tree, MAX_DEPTH)) return { kind: 'invalid', problem: 'is nested too deep' }
    return readTree(tree)
  } catch (error) {
    // The message of a TomlError quotes the lines around the mistake, which may contain a key.
    const where = error instanceof TomlError ? `at line ${error.line}, column ${error.column}` : 'as a whole'
    return { kind: 'invalid', problem: `is not valid TOML ${where}` }
  }
}

function isDeeper(value: TomlValue, most: number): boolean {
  if (!Array.isArray(value) && !isTable(value)) return false
  return most === 0 || Object.values(value).some((inner) => isDeeper(inner, most - 1))
}

function readTree(tree: TomlTable): ParsedProfiles {
  const { active, profiles: tables = {} } = tree
  if (active !== undefined && typeof active !== 'string') {
    return { kind: 'invalid', problem: "has an 'active' that is not a string" }
  }
  if (!isTable(tables)) return { kind: 'invalid', problem: "has a 'profiles' that is not a table" }
  const profiles = new Map<string, ProfileEntry>()
  for (const [name, table] of Object.entries(tables)) {
    if (!isTable(table))
      return { kind: 'invalid', problem: "has something under 'profiles' that is not a table" }
    profiles.set(name, readEntry(name, table))
  }
  return { kind: 'good', tree, file: { ...defined({ active }), profiles } }
}

function readEntry(name: string, table: TomlTable): ProfileEntry {
  // No prototype: a setting called `constructor` is absent until the file names it.
  const settings: Record<string, string> = Object.create(null)
  const secrets: { apiKey?: Secret; authString?: Secret } = {}
  const notStrings: string[] = []
  const unusable: string[] = []
  const trimmed: string[] = []
  for (const [setting, value] of Object.entries(table)) {
    const text = asPrefectReads(value)
    if (typeof value !== 'string') notStrings.push(setting)
    if (setting === 'PREFECT_API_KEY') {
      // Blanks around it come from copying; no key has any.
      const key = text.trim()
      if (/^[\x21-\x7e]*$/.test(key)) secrets.apiKey = new Secret(key)
      else unusable.push(setting)
      if (key !== text && secrets.apiKey !== undefined) trimmed.push(setting)
    } else if (setting === 'PREFECT_API_AUTH_STRING') {
      if (!/\p{Cc}/u.test(text)) secrets.authString = new Secret(text)
      else unusable.push(setting)
    } else settings[setting] = text
  }
  return {
    name,
    settings,
    ...secrets,
    ...defined({ notStrings: listed(notStrings), unusable: listed(unusable), trimmed: listed(trimmed) }),
  }
}

function listed(names: readonly string[]): readonly string[] | undefined {
  return names.length > 0 ? names : undefined
}

/** Python's `str()` of the value, which is what Prefect 2 makes of a native TOML value (`true` is `True`). */
function asPrefectReads(value: TomlValue): string {
  if (typeof value === 'string') return value
  if (typeof value === 'boolean') return value ? 'True' : 'False'
  if (typeof value === 'bigint') return value.toString()
  if (typeof value === 'number') return Number.isInteger(value) ? value.toFixed(1) : String(value)
  if (value instanceof TomlDate) return value.toISOString()
  return Array.isArray(value) ? '[…]' : '{…}'
}

/** Whether it is a table, not a scalar, an array or a date. */
function isTable(value: TomlValue | undefined): value is TomlTable {
  return typeof value === 'object' && !Array.isArray(value) && !(value instanceof TomlDate)
}

/** The tables under `profiles`, on an object without a prototype. */
export function profilesOf({ profiles }: TomlTable): Record<string, TomlTable> {
  const own: Record<string, TomlTable> = Object.create(null)
  for (const [name, table] of isTable(profiles) ? Object.entries(profiles) : []) {
    if (isTable(table)) own[name] = table
  }
  return own
}

/** `Secret.fingerprint()` of the setting's value as Prefect reads it; null if it is not set. */
export function fingerprintOf(table: TomlTable, setting: string): string | null {
  const value = Object.hasOwn(table, setting) ? table[setting] : undefined
  return value === undefined ? null : new Secret(asPrefectReads(value)).fingerprint()
}

/** Whether both say the same, in any order of keys; an empty `profiles` equals none. */
export function isSameDocument(one: TomlTable, other: TomlTable): boolean {
  return canonical(one) === canonical(other)
}

function canonical({ profiles, ...rest }: TomlTable): string {
  const isEmpty = isTable(profiles) && Object.keys(profiles).length === 0
  return canonicalValue(profiles === undefined || isEmpty ? rest : { ...rest, profiles })
}

function canonicalValue(value: TomlValue): string {
  if (Array.isArray(value)) return `[${value.map(canonicalValue).join()}]`
  if (!isTable(value)) return `${typeof value}:${JSON.stringify(String(value))}`
  const entries = Object.entries(value).map(
    ([key, inner]) => `${JSON.stringify(key)}:${canonicalValue(inner)}`,
  )
  return `{${entries.sort().join()}}`
}
