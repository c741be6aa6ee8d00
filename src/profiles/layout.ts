/** Where everything stands in the text of `profiles.toml`, in any of the shapes that TOML allows for a table. */
import { type AST, parseTOML } from 'toml-eslint-parser'

type Pair = AST.TOMLKeyValue
type Inline = AST.TOMLInlineTable

/** Offsets into the text, end exclusive. */
export type Span = readonly [start: number, end: number]

/** One stretch of text that belongs to a profile; a profile can have several (`[profiles.x]`, `[profiles.x.y]`). */
export type Piece =
  | { readonly kind: 'table'; readonly span: Span }
  | { readonly kind: 'line'; readonly span: Span }
  | { readonly kind: 'inline'; readonly span: Span; readonly siblings: readonly Span[] }

/** Where a new setting of a profile can be put. */
export type Home =
  | { readonly kind: 'table'; readonly after: Span }
  | { readonly kind: 'inline'; readonly table: Span; readonly last?: Span }
  /** `profiles.x.A = …`: another line with the same beginning. */
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
  /** The value of `active`. */
  active?: Span
  /** Where the first table or line begins. */
  first?: { readonly start: number; readonly isTable: boolean }
  /** `profiles = { … }`: the one shape to which no `[profiles.x]` can be added. */
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
  /** The inline table around the pair, if it stands in one. */
  readonly inline?: Inline
}

function addPair(context: PairContext): void {
  const { layout, pair, path } = context
  const full = [...path, ...pair.key.keys.map(keyText)]
  if (full.length === 1 && full[0] === 'active') layout.active = pair.value.range
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
  return last === undefined ? {} : { last }
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
