/** The settings as a Markdown table: the README's is made of it, and a house test keeps the two equal. */
import { SETTINGS } from './settings.js'

export function settingsTable(): string {
  const rows = Object.entries(SETTINGS).map(([name, { default: fallback, meaning }]) => {
    const value =
      fallback === undefined ? 'unset' : Array.isArray(fallback) ? '`[]`' : `\`${String(fallback)}\``
    return `| \`${name}\` | ${value} | ${meaning} |`
  })
  return ['| setting | default | meaning |', '|---|---|---|', ...rows].join('\n')
}
