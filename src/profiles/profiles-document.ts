/** The parsed document of `profiles.toml` as edits see it: its profiles, and whether two documents say the same. */
import type { TomlTable, TomlValue } from 'smol-toml'
import { isTable } from './toml.js'

/** The tables under `profiles`, on an object that inherits nothing: any name is either there or not. */
export function profilesOf({ profiles }: TomlTable): Record<string, TomlTable> {
  const own: Record<string, TomlTable> = Object.create(null)
  for (const [name, table] of isTable(profiles) ? Object.entries(profiles) : []) {
    if (isTable(table)) own[name] = table
  }
  return own
}

/** Whether both say the same, whatever the order of their keys; an empty `profiles` is as good as none. */
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
