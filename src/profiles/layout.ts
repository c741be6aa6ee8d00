/** Positions in the text of `profiles.toml`, for each way to write a table, and the cuts there. */

import { type AST, parseTOML } from 'toml-eslint-parser'
import { defined } from '../std/defined.js'

type Pair = AST.TOMLKeyValue
type Inline = AST.TOMLInlineTable

/** Offsets into the text, end exclusive. */
export type Span = readonly [start: number, end: number]

/** A stretch of text that belongs to a profile, which can have several (`[profiles.x]`, `[profiles.x.y]`). */
export type Piece =
  | { readonly kind: 'table'; readonly span: Span }
  | { readonly kind: 'line'; readonly span: Span }
  | { readonly kind: 'inline'; readonly span: Span; readonly siblings: readonly Span[] }

/** Where a new setting of a profile can be put. */
export type Home =
  | { readonly kind: 'table'; readonly after: Span }
  | { readonly kind: 'inline'; readonly table: Span; readonly last?: Span }
  /** `profiles.x.A = …`: another line with the same prefix. */
  | { readonly kind: 'dotted'; readonly after: Span; readonly prefix: string }

export interface SettingPlace {
  readonly value: Span
  readonly piece: Piece
}

export interface ProfileLayout {
  readonly names: Span[]
  readonly pieces: Piece[]
  readonly settings: Map<string, SettingPlace>
  home?: Home
}

export interface Layout {
  /** `active = …` */
  active?: { readonly line: Span; readonly value: Span }
  /** Where the first table or line begins. */
  first?: { readonly start: number; readonly isTable: boolean }
  /** `profiles = { … }`: the only form to which no `[profiles.x]` can be added. */
  profilesInline?: { readonly table: Span; readonly last?: Span }
  readonly profiles: Map<string, ProfileLayout>
}

/** Reads the layout of valid TOML 1.0. Throws the parser's error for anything else. */
export function readLayout(text: string): Layout {
  const layout: Layout = { profiles: new Map() }
  const [top] = parseTOML(text, { tomlVersion: '1.0' }).body
  for (const node of top.body) {
    layout.first ??= { start: node.range[0], isTable: node.type === 'TOMLTable' }
    if (node.type === 'TOMLKeyValue') addPair({ layout, text, pair: node, path: [] })
    else addTable(layout, text, node)
  }
  return layout
}

function addTable(layout: Layout, text: string, table: AST.TOMLTable): void {
  const path = table.resolvedKey.map(String)
  const [root, name] = path
  if (root !== 'profiles') return
  if (name !== undefined) {
    const profile = profileOf(layout, name)
    const nameNode = table.key.keys[1]
    if (nameNode !== undefined) profile.names.push(nameNode.range)
    profile.pieces.push({ kind: 'table', span: table.range })
    if (path.length === 2)
      profile.home = { kind: 'table', after: table.body.at(-1)?.range ?? table.key.range }
  }
  for (const pair of table.body) addPair({ layout, text, pair, path })
}

interface PairContext {
  readonly layout: Layout
  readonly text: string
  readonly pair: Pair
  /** Keys of the table around the pair. */
  readonly path: readonly string[]
  /** The inline table around the pair, if it is in one. */
  readonly inline?: Inline
}

function addPair(context: PairContext): void {
  const { layout, pair, path } = context
  const full = [...path, ...pair.key.keys.map(keyText)]
  if (full.length === 1 && full[0] === 'active') {
    layout.active = { line: pair.range, value: pair.value.range }
  }
  if (full[0] !== 'profiles') return
  const [, name, setting] = full
  if (name === undefined) {
    if (pair.value.type !== 'TOMLInlineTable') return
    layout.profilesInline = { table: pair.value.range, ...lastOf(pair.value) }
    addChildren(context, pair.value, full)
  } else if (path.length < 2) addOwnPiece(context, profileOf(layout, name), full)
  else if (setting !== undefined && full.length === 3) {
    profileOf(layout, name).settings.set(setting, { value: pair.value.range, piece: pieceOf(context) })
  }
}

/** A pair whose own key names the profile: `profiles.x = {…}`, `x.A = …` under `[profiles]`, and so on. */
function addOwnPiece(context: PairContext, profile: ProfileLayout, full: readonly string[]): void {
  const { pair, path, text } = context
  const piece = pieceOf(context)
  const nameNode = pair.key.keys[1 - path.length]
  if (nameNode !== undefined) profile.names.push(nameNode.range)
  profile.pieces.push(piece)
  const setting = full[2]
  if (setting === undefined) {
    if (pair.value.type !== 'TOMLInlineTable') return
    profile.home ??= { kind: 'inline', table: pair.value.range, ...lastOf(pair.value) }
    addChildren(context, pair.value, full)
    return
  }
  if (full.length === 3) profile.settings.set(setting, { value: pair.value.range, piece })
  if (profile.home === undefined || profile.home.kind === 'dotted') {
    if (piece.kind !== 'line' || nameNode === undefined) return
    profile.home = {
      kind: 'dotted',
      after: piece.span,
      prefix: text.slice(pair.key.range[0], nameNode.range[1]),
    }
  }
}

function addChildren(context: PairContext, inline: Inline, path: readonly string[]): void {
  for (const pair of inline.body) addPair({ ...context, pair, path, inline })
}

function pieceOf({ pair, inline }: PairContext): Piece {
  if (inline === undefined) return { kind: 'line', span: pair.range }
  return { kind: 'inline', span: pair.range, siblings: inline.body.map(({ range }) => range) }
}

function lastOf(table: Inline): { last?: Span } {
  const last = table.body.at(-1)?.range
  return defined({ last })
}

function profileOf(layout: Layout, name: string): ProfileLayout {
  const known = layout.profiles.get(name)
  if (known !== undefined) return known
  const created: ProfileLayout = { names: [], pieces: [], settings: new Map() }
  layout.profiles.set(name, created)
  return created
}

function keyText(key: AST.TOMLBare | AST.TOMLQuoted): string {
  return key.type === 'TOMLBare' ? key.name : key.value
}

/** A TOML basic string in ASCII, which both of Prefect's TOML readers accept in any locale. */
export function basicString(text: string): string {
  return JSON.stringify(text).replace(/[\u007f-\u{10ffff}]/gu, (character) => {
    const code = character.codePointAt(0) ?? 0
    return code > 0xffff ? `\\U${hex(code, 8)}` : `\\u${hex(code, 4)}`
  })
}

function hex(code: number, digits: number): string {
  return code.toString(16).toUpperCase().padStart(digits, '0')
}

/** A TOML key, bare if TOML allows it. */
export function tomlKey(name: string): string {
  return /^[A-Za-z0-9_-]+$/.test(name) ? name : basicString(name)
}

/** The line break that the file uses. */
function lineBreakOf(text: string): string {
  return /\r?\n/.exec(text)?.[0] ?? '\n'
}

export function replaceSpans(text: string, spans: readonly Span[], replacement: string): string {
  const backwards = [...spans].sort(([a], [b]) => b - a)
  return backwards.reduce((done, [start, end]) => done.slice(0, start) + replacement + done.slice(end), text)
}

/** Puts `line` on a line of its own after the line on which `after` ends, with the same indent. */
export function insertLineAfter(text: string, after: Span, line: string): string {
  const lineBreak = lineBreakOf(text)
  const end = endOfLine(text, after[1])
  const indent = /^[ \t]*/.exec(text.slice(startOfLine(text, after[0])))?.[0] ?? ''
  const before = text.slice(0, end)
  return `${before}${before.endsWith('\n') ? '' : lineBreak}${indent}${line}${lineBreak}${text.slice(end)}`
}

/** Puts `pair` after the last pair of an inline table. */
export function insertInline(
  text: string,
  { table, last }: { table: Span; last?: Span },
  pair: string,
): string {
  if (last === undefined) return replaceSpans(text, [table], `{ ${pair} }`)
  return replaceSpans(text, [[last[1], last[1]]], `, ${pair}`)
}

/** Removes a setting. A comment on its line stays. */
export function removeSetting(text: string, profile: ProfileLayout, setting: string): string {
  const place = profile.settings.get(setting)
  if (place === undefined) return text
  const [name] = profile.names
  if (profile.home?.kind === 'dotted' && profile.pieces.length === 1 && name !== undefined) {
    // Only this line makes the profile exist: `profiles.x.A = "…"` becomes `profiles.x = {}`.
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

/** Removes a pair from an inline table, with the comma beside it. */
function removeInline(text: string, span: Span, siblings: readonly Span[]): string {
  const index = siblings.findIndex(([start]) => start === span[0])
  const previous = siblings[index - 1]
  const next = siblings[index + 1]
  if (next !== undefined) return replaceSpans(text, [[span[0], next[0]]], '')
  return replaceSpans(text, [[previous === undefined ? span[0] : previous[1], span[1]]], '')
}

/** Removes a table or line with everything inside it and the blank lines after it. */
export function removePiece(text: string, piece: Piece): string {
  if (piece.kind === 'inline') return removeInline(text, piece.span, piece.siblings)
  const start = startOfLine(text, piece.span[0])
  const end = endOfLine(text, piece.span[1])
  const blank = piece.kind === 'table' ? (/^(?:[ \t]*\r?\n)*/.exec(text.slice(end))?.[0].length ?? 0) : 0
  const before = text.slice(0, start)
  const after = text.slice(end + blank)
  return after === '' ? before.replace(/(\r?\n)(?:[ \t]*\r?\n)+$/, '$1') : before + after
}

/** Adds `[profiles.NAME]` at the end after a blank line, as Prefect writes it. */
export function appendTable(text: string, header: string, lines: readonly string[]): string {
  const lineBreak = lineBreakOf(text)
  const separated = text === '' || text.endsWith('\n') ? text : text + lineBreak
  const gap = separated === '' || /\n[ \t]*\r?\n$/.test(separated) ? '' : lineBreak
  return `${separated}${gap}${[header, ...lines].join(lineBreak)}${lineBreak}`
}

/** Adds a line at the top: before the first table or line, and before the comment directly above it. */
export function insertAtTop(text: string, first: Layout['first'], line: string): string {
  const lineBreak = lineBreakOf(text)
  if (first === undefined) return appendTable(text, line, [])
  let start = startOfLine(text, first.start)
  while (start > 0 && /^[ \t]*#/.test(text.slice(startOfLine(text, start - 1), start))) {
    start = startOfLine(text, start - 1)
  }
  return `${text.slice(0, start)}${line}${lineBreak}${first.isTable ? lineBreak : ''}${text.slice(start)}`
}

/** Removes a line that `insertAtTop` added, with the blank line that it put below. */
export function removeTopLine(text: string, line: Span): string {
  const end = endOfLine(text, line[1])
  const blank = /^[ \t]*\r?\n/.exec(text.slice(end))?.[0].length ?? 0
  return text.slice(0, startOfLine(text, line[0])) + text.slice(end + blank)
}

function startOfLine(text: string, offset: number): number {
  return text.lastIndexOf('\n', offset - 1) + 1
}

function endOfLine(text: string, offset: number): number {
  const lineFeed = text.indexOf('\n', offset)
  return lineFeed === -1 ? text.length : lineFeed + 1
}
