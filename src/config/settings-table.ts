/** The settings as a table for people: the README's, and that of the help. */
import { SETTINGS } from './settings.js'

/** Every setting with its default as text. */
export function settingsRows(): readonly {
  readonly name: string
  readonly default: string
  readonly meaning: string
}[] {
  return Object.entries(SETTINGS).map(([name, { default: fallback, meaning }]) => ({
    name,
    default: fallback === undefined ? 'unset' : Array.isArray(fallback) ? '[]' : String(fallback),
    meaning,
  }))
}

/** The README's table of settings, in Markdown. */
export function settingsTable(): string {
  const rows = settingsRows().map(
    ({ name, default: value, meaning }) =>
      `| \`${name}\` | ${value === 'unset' ? value : `\`${value}\``} | ${meaning} |`,
  )
  return ['| setting | default | meaning |', '|---|---|---|', ...rows].join('\n')
}
