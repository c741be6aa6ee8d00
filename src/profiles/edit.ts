/**
 * Edits of the text of `profiles.toml` that keep the rest: comments, order, unknown keys, line breaks, byte order mark.
 * toml-eslint-parser gives the ranges; smol-toml reads every result again, which must say exactly what was asked.
 */
import type { TomlTable } from 'smol-toml'
import { BrokerError } from '../base/errors.js'
import { Secret } from '../std/secret.js'
import { cleanText } from '../std/text.js'
import { isBundledProfileName, requireNewProfileName, shownName } from './bundled.js'
import * as splice from './layout.js'
import { type Layout, readLayout } from './layout.js'
import type { ProfileEdit } from './profile.js'
import { fingerprintOf, isSameDocument, parseProfiles, profilesOf } from './toml.js'

/** The settings that we may write; any may be removed. Others would stop some client that reads the same file. */
const WRITABLE = ['PREFECT_API_URL', 'PREFECT_API_KEY']
const BYTE_ORDER_MARK = '\ufeff'

/**
 * Applies all edits in order, or none. Throws `profiles_file_invalid` (not TOML, or in a form that cannot be changed
 * safely), `profiles_file_changed` (a value is not the expected one), `profile_exists`, `profile_not_found` or `profile_name_invalid`. An empty text becomes what Prefect would write.
 */
export function editProfiles(text: string, edits: readonly ProfileEdit[]): string {
  const mark = text.startsWith(BYTE_ORDER_MARK) ? BYTE_ORDER_MARK : ''
  const edited = edits.reduce(applyEdit, text.slice(mark.length))
  // A blank file looks as if somebody had truncated it: its last good reading would stay.
  return mark + (edited.trim() === '' && text.trim() !== '' ? '[profiles]\n' : edited)
}

function applyEdit(text: string, edit: ProfileEdit): string {
  switch (edit.kind) {
    case 'set_active':
      return setActive(text, edit)
    case 'create':
      if (profilesOf(treeOf(text))[edit.name] !== undefined) throw exists(edit.name)
      return createProfile(text, edit.name, edit.settings)
    case 'set':
      requireExpected(text, edit.name, edit.expected ?? {})
      return changeSettings(text, edit.name, edit.settings)
    case 'delete':
      return deleteProfile(text, edit.name)
    case 'rename':
      return renameProfile(text, edit.name, edit.to)
  }
}

/** Throws `profiles_file_changed` if a setting of the profile has another value than its fingerprint here says. */
function requireExpected(
  text: string,
  name: string,
  expected: Readonly<Record<string, string | null>>,
): void {
  const table = profilesOf(treeOf(text))[name] ?? {}
  const say = (fingerprint: string | null) => fingerprint ?? 'no value'
  for (const [setting, wanted] of Object.entries(expected)) {
    const found = fingerprintOf(table, setting)
    if (found === wanted) continue
    throw new BrokerError(
      'profiles_file_changed',
      `cannot change profile ${shownName(name)}: another program has changed its ${cleanText(setting, 60)} (expected ${say(wanted)}, found ${say(found)})`,
      { hint: 'prefect-auth status' },
    )
  }
}

function setActive(text: string, { name, ifActive }: Extract<ProfileEdit, { kind: 'set_active' }>): string {
  const tree = treeOf(text)
  const { active, ...others } = tree
  if (ifActive !== undefined && active !== ifActive) return text
  const layout = layoutOf(text)
  if (name === undefined) {
    const edited = layout.active === undefined ? text : splice.removeTopLine(text, layout.active.line)
    return checked(edited, others)
  }
  const isThere = profilesOf(tree)[name] !== undefined || isBundledProfileName(name)
  if (!isThere && ifActive === undefined) throw notFound(name)
  const value = splice.basicString(name)
  const edited =
    layout.active === undefined
      ? splice.insertAtTop(text, layout.first, `active = ${value}`)
      : splice.replaceSpans(text, [layout.active.value], value)
  return checked(edited, { ...others, active: name })
}

function createProfile(
  text: string,
  name: string,
  settings: Readonly<Record<string, string | Secret | undefined>>,
): string {
  requireNewProfileName(name)
  const tree = treeOf(text)
  const values = Object.entries(settings).flatMap(([setting, value]) =>
    value === undefined ? [] : [[setting, writable(setting, value)] as const],
  )
  const pairs = values.map(([setting, value]) => `${setting} = ${splice.basicString(value)}`)
  const { profilesInline } = layoutOf(text)
  const key = splice.tomlKey(name)
  const edited =
    profilesInline === undefined
      ? splice.appendTable(text, `[profiles.${key}]`, pairs)
      : splice.insertInline(text, profilesInline, `${key} = { ${pairs.join(', ')} }`)
  return checked(edited, withProfile(tree, name, Object.fromEntries(values)))
}

function changeSettings(
  text: string,
  name: string,
  settings: Readonly<Record<string, string | Secret | undefined>>,
): string {
  if (profilesOf(treeOf(text))[name] === undefined) {
    const isNothingToWrite = Object.values(settings).every((value) => value === undefined)
    return isNothingToWrite ? text : createProfile(text, name, settings)
  }
  // One at a time, each on a fresh layout: a change moves the positions for the next one.
  return Object.entries(settings).reduce(
    (done, [setting, value]) =>
      value === undefined
        ? removeSetting(done, name, setting)
        : writeSetting(done, { name, setting, value: writable(setting, value) }),
    text,
  )
}

function writeSetting(
  text: string,
  { name, setting, value }: { name: string; setting: string; value: string },
): string {
  const tree = treeOf(text)
  const profile = layoutOf(text).profiles.get(name)
  const place = profile?.settings.get(setting)
  const expected = withProfile(tree, name, { ...profilesOf(tree)[name], [setting]: value })
  const quoted = splice.basicString(value)
  if (place !== undefined) return checked(splice.replaceSpans(text, [place.value], quoted), expected)
  const pair = `${setting} = ${quoted}`
  switch (profile?.home?.kind) {
    case 'table':
      return checked(splice.insertLineAfter(text, profile.home.after, pair), expected)
    case 'inline':
      return checked(splice.insertInline(text, profile.home, pair), expected)
    case 'dotted':
      return checked(
        splice.insertLineAfter(text, profile.home.after, `${profile.home.prefix}.${pair}`),
        expected,
      )
    case undefined:
      // There is only `[profiles.x.y]`; its parent table may still be added.
      return checked(splice.appendTable(text, `[profiles.${splice.tomlKey(name)}]`, [pair]), expected)
  }
}

function removeSetting(text: string, name: string, setting: string): string {
  const tree = treeOf(text)
  const { [setting]: removed, ...kept } = profilesOf(tree)[name] ?? {}
  if (removed === undefined) return text
  const profile = layoutOf(text).profiles.get(name)
  const edited = profile === undefined ? text : splice.removeSetting(text, profile, setting)
  return checked(edited, withProfile(tree, name, kept))
}

function deleteProfile(text: string, name: string): string {
  const tree = treeOf(text)
  const { [name]: deleted, ...kept } = profilesOf(tree)
  if (deleted === undefined) throw notFound(name)
  let edited = text
  for (;;) {
    const piece = layoutOf(edited).profiles.get(name)?.pieces.at(-1)
    if (piece === undefined) break
    edited = splice.removePiece(edited, piece)
  }
  // A blank file would be taken for one that another program has emptied and not yet filled again.
  return checked(edited.trim() === '' ? '[profiles]\n' : edited, { ...tree, profiles: kept })
}

function renameProfile(text: string, name: string, to: string): string {
  if (name === to) return text
  requireNewProfileName(to)
  const tree = treeOf(text)
  const { [name]: renamed, ...kept } = profilesOf(tree)
  if (renamed === undefined) throw notFound(name)
  if (Object.hasOwn(kept, to)) throw exists(to)
  const names = layoutOf(text).profiles.get(name)?.names ?? []
  const edited = splice.replaceSpans(text, names, splice.tomlKey(to))
  const expected = { ...tree, profiles: { ...kept, [to]: renamed } }
  const done = checked(edited, expected)
  return tree.active === name ? setActive(done, { kind: 'set_active', name: to }) : done
}

function writable(setting: string, value: string | Secret): string {
  if (!WRITABLE.includes(setting)) {
    throw new BrokerError('internal', `refused to write ${shownName(setting)} into profiles.toml`)
  }
  const text = value instanceof Secret ? value.reveal() : value // a mirrored key, into profiles.toml
  if (/^[\x21-\x7e]*$/.test(text)) return text
  const code = setting === 'PREFECT_API_KEY' ? 'key_malformed' : 'api_url_invalid'
  throw new BrokerError(
    code,
    `cannot write ${setting} to profiles.toml: it contains a space, a control character or a non-ASCII character`,
  )
}

function treeOf(text: string): TomlTable {
  const parsed = parseProfiles(text)
  if (parsed.kind === 'good') return parsed.tree
  throw new BrokerError('profiles_file_invalid', `cannot change profiles.toml: it ${parsed.problem}`, {
    hint: 'nothing was written; correct the file by hand, then try again',
  })
}

function layoutOf(text: string): Layout {
  try {
    return readLayout(text)
  } catch {
    throw tooUnusual()
  }
}

function withProfile(tree: TomlTable, name: string, table: TomlTable): TomlTable {
  return { ...tree, profiles: { ...profilesOf(tree), [name]: table } }
}

/** Returns `text` if it reads back as exactly what was meant; else throws `profiles_file_invalid`. */
function checked(text: string, expected: TomlTable): string {
  const parsed = parseProfiles(text)
  if (parsed.kind === 'good' && isSameDocument(parsed.tree, expected)) return text
  throw tooUnusual()
}

function tooUnusual(): BrokerError {
  return new BrokerError(
    'profiles_file_invalid',
    'cannot change profiles.toml: it is written in a form that cannot be edited without risk to the rest of the file',
    {
      hint: 'nothing was written; make the change by hand, or write every profile as a [profiles.NAME] table',
    },
  )
}

function exists(name: string): BrokerError {
  return new BrokerError('profile_exists', `profile ${shownName(name)} already exists`, {
    hint: 'prefect-auth profile ls',
  })
}

function notFound(name: string): BrokerError {
  return new BrokerError('profile_not_found', `profile ${shownName(name)} is not in profiles.toml`, {
    hint: 'prefect-auth profile ls',
  })
}
