/** Pure: puts values into a template, each escaped by the rules of the place it goes to. */
import { failWith } from '../../client/failure.js'

/** Replaces every `@NAME@`. Fails for a name without a value, and for a value of more than one line that is not ours. */
export function fillTemplate(template: string, values: Readonly<Record<string, string>>): string {
  return template.replace(/@([A-Z]+)@/g, (_whole, name: string) => {
    const value = values[name]
    if (value === undefined) throw new Error(`the template has no value for ${name}`)
    return value
  })
}

/** One word of a unit's command line: `%` is a specifier there, `$` a variable. */
export function unitWord(text: string): string {
  return quoted(text).replaceAll('$', '$$$$')
}

/** One of a list of paths, or one assignment of `Environment=`: there `$` is a letter. */
export function unitItem(text: string): string {
  return quoted(text)
}

/** The whole rest of a line, as `ListenStream=` takes it. */
export function unitLine(text: string): string {
  return singleLine(text).replaceAll('%', '%%')
}

function quoted(text: string): string {
  const escaped = singleLine(text).replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('%', '%%')
  return /^[\w@+:,./=%-]+$/.test(escaped) ? escaped : `"${escaped}"`
}

/** Text of an element of a property list. */
export function xmlText(text: string): string {
  return singleLine(text).replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')
}

function singleLine(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: exactly these can't stand in a unit
  if (!/[\u0000-\u001f\u007f]/.test(text)) return text
  return failWith({
    code: 'usage',
    kind: 'usage',
    detail: 'a path or variable with a line break or control character in it can go into no service',
  })
}
