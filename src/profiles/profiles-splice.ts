/** Text surgery on `profiles.toml`: each function makes one change and leaves every other character where it was. */
import type { Layout, Piece, ProfileLayout, Span } from './layout.js'

/** A TOML basic string in ASCII: what both of Prefect's TOML readers take, whatever the locale. */
export function basicString(text: string): string {
  return JSON.stringify(text).replace(/[\u007f-\u{10ffff}]/gu, (character) => {
    const code = character.codePointAt(0) ?? 0
    return code > 0xffff ? `\\U${hex(code, 8)}` : `\\u${hex(code, 4)}`
  })
}

function hex(code: number, digits: number): string {
  return code.toString(16).toUpperCase().padStart(digits, '0')
}

/** A key, bare where TOML allows it. */
export function tomlKey(name: string): string {
  return /^[A-Za-z0-9_-]+$/.test(name) ? name : basicString(name)
}

/** The line break that the file uses. */
export function lineBreakOf(text: string): string {
  return /\r?\n/.exec(text)?.[0] ?? '\n'
}

export function replaceSpans(text: string, spans: readonly Span[], replacement: string): string {
  const backwards = [...spans].sort(([a], [b]) => b - a)
  return backwards.reduce((done, [start, end]) => done.slice(0, start) + replacement + done.slice(end), text)
}

/** Puts `line` on a line of its own after the line on which `after` ends, indented as that one. */
export function insertLineAfter(text: string, after: Span, line: string): string {
  const lineBreak = lineBreakOf(text)
  const end = endOfLine(text, after[1])
  const indent = /^[ \t]*/.exec(text.slice(startOfLine(text, after[0])))?.[0] ?? ''
  const before = text.slice(0, end)
  return `${before}${before.endsWith('\n') ? '' : lineBreak}${indent}${line}${lineBreak}${text.slice(end)}`
}

/** Puts `pair` behind the last pair of an inline table. */
export function insertInline(
  text: string,
  { table, last }: { table: Span; last?: Span },
  pair: string,
): string {
  if (last === undefined) return replaceSpans(text, [table], `{ ${pair} }`)
  return replaceSpans(text, [[last[1], last[1]]], `, ${pair}`)
}

/** Takes a setting out. A comment on its line stays. */
export function removeSetting(text: string, profile: ProfileLayout, setting: string): string {
  const place = profile.settings.get(setting)
  if (place === undefined) return text
  const [name] = profile.names
  if (profile.home?.kind === 'dotted' && profile.pieces.length === 1 && name !== undefined) {
    // The profile exists by this line alone: `profiles.x.A = "…"` becomes `profiles.x = {}`.
    return replaceSpans(text, [[name[1], place.value[1]]], ' = {}')
  }
  return removePair(text, place.piece)
}

function removePair(text: string, piece: Piece): string {
  if (piece.kind === 'inline') return removeInline(text, piece.span, piece.siblings)
  const start = startOfLine(text, piece.span[0])
  const comment = /^[ \t]*(?=#)/.exec(text.slice(piece.span[1]))
  const end = comment === null ? endOfLine(text, piece.span[1]) : piece.span[1] + comment[0].length
  return replaceSpans(text, [[start, end]], '')
}

/** One pair of an inline table and the comma beside it. */
function removeInline(text: string, span: Span, siblings: readonly Span[]): string {
  const index = siblings.findIndex(([start]) => start === span[0])
  const previous = siblings[index - 1]
  const next = siblings[index + 1]
  if (next !== undefined) return replaceSpans(text, [[span[0], next[0]]], '')
  return replaceSpans(text, [[previous === undefined ? span[0] : previous[1], span[1]]], '')
}

/** Cuts a table or line from its first to its last character, what stands inside, and the blank lines behind it. */
export function removePiece(text: string, piece: Piece): string {
  if (piece.kind === 'inline') return removeInline(text, piece.span, piece.siblings)
  const start = startOfLine(text, piece.span[0])
  const end = endOfLine(text, piece.span[1])
  const blank = piece.kind === 'table' ? (/^(?:[ \t]*\r?\n)*/.exec(text.slice(end))?.[0].length ?? 0) : 0
  const before = text.slice(0, start)
  const after = text.slice(end + blank)
  return after === '' ? before.replace(/(\r?\n)(?:[ \t]*\r?\n)+$/, '$1') : before + after
}

/** Adds `[profiles.NAME]` at the end, a blank line before it, as Prefect writes it. */
export function appendTable(text: string, header: string, lines: readonly string[]): string {
  const lineBreak = lineBreakOf(text)
  const separated = text === '' || text.endsWith('\n') ? text : text + lineBreak
  const gap = separated === '' || /\n[ \t]*\r?\n$/.test(separated) ? '' : lineBreak
  return `${separated}${gap}${[header, ...lines].join(lineBreak)}${lineBreak}`
}

/** Adds a line at the top: before the first table or line, and before the comment that stands directly above it. */
export function insertAtTop(text: string, first: Layout['first'], line: string): string {
  const lineBreak = lineBreakOf(text)
  if (first === undefined) return appendTable(text, line, [])
  let start = startOfLine(text, first.start)
  while (start > 0 && /^[ \t]*#/.test(text.slice(startOfLine(text, start - 1), start))) {
    start = startOfLine(text, start - 1)
  }
  return `${text.slice(0, start)}${line}${lineBreak}${first.isTable ? lineBreak : ''}${text.slice(start)}`
}

function startOfLine(text: string, offset: number): number {
  return text.lastIndexOf('\n', offset - 1) + 1
}

function endOfLine(text: string, offset: number): number {
  const lineFeed = text.indexOf('\n', offset)
  return lineFeed === -1 ? text.length : lineFeed + 1
}
