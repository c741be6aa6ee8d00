/** Follows the profile file: announces changes, and carries out `profiles.adopt` and `profiles.mirror`. */

import type { Audit } from '../audit/audit.js'
import { isBrokerError } from '../base/errors.js'
import type { Events } from '../base/events.js'
import type { Changes } from '../keys/change.js'
import { fingerprintsIn } from '../keys/file-edits.js'
import { plannedFromFile } from '../keys/from-file.js'
import type { KeyKeeper } from '../keys/keeper.js'
import type { Overwritten, ProfileReading, ProfileStore } from '../profiles/profile.js'
import { isSameReading } from '../profiles/reading.js'
import type { ProfileState } from '../serve/credentials.js'
import type { ServingCredentials } from '../serve/serve.js'
import { createSerial } from '../std/async.js'
import type { Clock } from '../std/clock.js'
import { defined } from '../std/defined.js'
import type { Log } from '../std/log.js'
import type { Secret } from '../std/secret.js'
import type { ProfileAdmin } from './profiles.js'

interface ProfileMinderParts {
  readonly store: ProfileStore
  readonly credentials: ServingCredentials
  readonly keeper: KeyKeeper
  readonly admin: Pick<ProfileAdmin, 'adopt'>
  /** Moves what is held for a profile that got another name. Never rejects. */
  readonly followRename: (before: ProfileReading | undefined, now: ProfileReading) => Promise<void>
  /** Ties a profile whose table has a key of ours to that key. Never rejects. */
  readonly recognise: (state: ProfileState) => Promise<void>
  readonly events: Events
  readonly audit: Audit
  readonly log: Log
  readonly changes: Changes
  readonly clock: Clock
  readonly newId: () => string
  readonly policy: { readonly adopt: 'report' | 'auto'; readonly mirror: boolean }
}

interface ProfileMinder {
  /** Looks now, as after every change. Rejects if what is served cannot be brought up to date. */
  look(): Promise<void>
  close(): Promise<void>
}

export function createProfileMinder(deps: ProfileMinderParts): ProfileMinder {
  const { store, keeper, log } = deps
  const serial = createSerial()
  const memory: Memory = { reported: new Set(), refused: new Set(), unverified: new Set() }
  let last: ProfileReading | undefined

  const look = () =>
    serial.run(async () => {
      const reading = store.reading()
      // Every look at the file makes another reading: only its content says whether something changed.
      if (last !== undefined && !isSameReading(last, reading)) announce(deps.events, reading)
      const before = last
      last = reading
      await deps.credentials.settle()
      await deps.followRename(before, reading)
      for (const state of deps.credentials.states()) await follow(deps, state, memory)
    })
  const lookSoon = () => {
    look().catch((error: unknown) => log.error({ error }, 'profile change not followed; will retry'))
  }
  const stops = [
    store.onChange(lookSoon),
    store.onOverwritten((found) => announceOverwritten(deps.events, found)),
    ...(deps.policy.mirror ? [keeper.onChange(lookSoon)] : []),
  ]
  return {
    look,
    async close() {
      for (const stop of stops) stop()
      await serial.run(async () => undefined)
    },
  }
}

function announce(events: Events, { state, problem, file }: ProfileReading): void {
  if (state !== 'good') {
    events.emit('profiles.invalid', { facts: { state, problem: problem ?? '' } })
    return
  }
  const facts = { active: file.active ?? '', profiles: [...file.profiles.keys()] }
  events.emit('profiles.changed', { facts })
}

/** Another program wrote at the moment of an edit: its text is in the file again, or beside our state. */
function announceOverwritten(events: Events, { file, isMerged, keptAt }: Overwritten): void {
  const fingerprints = file === undefined ? [] : [...fingerprintsIn(file)]
  const facts = { merged: isMerged, fingerprints, ...defined({ kept_at: keptAt }) }
  events.emit('profiles.overwritten', { facts })
}

interface Memory {
  /** Plain-text keys that were reported, by profile and fingerprint. */
  readonly reported: Set<string>
  /** Fingerprints of plain-text keys that can be no keys. */
  readonly refused: Set<string>
  /** Profiles without verification of certificates that were reported. */
  readonly unverified: Set<string>
}

async function follow(deps: ProfileMinderParts, found: ProfileState, memory: Memory): Promise<void> {
  reportUnverified(deps, found, memory)
  // An alias has no key of its own.
  if (found.resolved.kind !== 'cloud' || found.resolved.aliasOf !== undefined) return
  await deps.recognise(found)
  // As it is by now: an own key makes its profile one of the vault's.
  const state = deps.credentials.state(found.resolved.name)
  if (state.keySource !== 'file' && deps.policy.mirror) await mirror(deps, state)
  else await followPlainKey(deps, state, memory)
}

/** Whoever is on the way may be the server, and gets the key: each time that somebody sets it, the log says so. */
function reportUnverified({ log }: ProfileMinderParts, { resolved }: ProfileState, memory: Memory): void {
  const { name, connection } = resolved
  if (connection?.tls?.isUnverified !== true) return void memory.unverified.delete(name)
  if (memory.unverified.has(name)) return
  memory.unverified.add(name)
  log.warn({ profile: name }, 'TLS certificates of this profile are not verified')
}

/** Reported once per key; the profile's warnings also offer to adopt it. */
async function followPlainKey(
  deps: ProfileMinderParts,
  { resolved, keySource, standing }: ProfileState,
  memory: Memory,
): Promise<void> {
  const { name, fileKey } = resolved
  if (fileKey === undefined || fileKey.length === 0) return
  const fingerprint = fileKey.fingerprint()
  const place = `${name} ${fingerprint}`
  if (!memory.reported.has(place)) {
    memory.reported.add(place)
    deps.events.emit('profiles.plaintext_key', { profile: name, facts: { fingerprint } })
    deps.log.warn({ profile: name, fingerprint }, 'plain-text API key in profiles.toml')
  }
  // A key that Prefect refuses is asked about by the renewal; it is adopted once Prefect takes it.
  const isGood = keySource !== 'file' || standing === undefined
  if (deps.policy.adopt === 'auto' && isGood) await adopt(deps, name, fingerprint, memory)
}

/** What can be no key is not tried again at every look. */
async function adopt(
  { admin, audit, log }: ProfileMinderParts,
  name: string,
  fingerprint: string,
  { refused }: Memory,
): Promise<void> {
  if (refused.has(fingerprint)) return
  try {
    await admin.adopt(name)
    // The API records what a caller asks for; this was not asked for by anyone.
    audit.record({ action: 'adopt', outcome: 'done', door: 'daemon', profile: name, fingerprint })
  } catch (error) {
    if (!isBrokerError(error)) throw error
    if (isBrokerError(error, 'key_malformed')) refused.add(fingerprint)
    log.warn({ profile: name, error }, 'plain-text key not adopted')
  }
}

/** The key is marked as handed out before it is in a file that any process may read. */
async function mirror(
  { changes, keeper, credentials, clock, newId, log }: ProfileMinderParts,
  state: ProfileState,
): Promise<void> {
  const profile = state.resolved.name
  if (keyToMirror(state) === undefined) return
  try {
    let written: Secret | undefined
    await changes.run([profile], async () => {
      await credentials.settle()
      // As it is now: a log-out, or another key in the file, may have come in between.
      const now = credentials.state(profile)
      const found = keyToMirror(now)
      if (found === undefined) return { act: 'mirror' }
      await keeper.markHandedOut(found.item)
      written = found.apiKey
      // What is in the file is a key of ours, and the vault has it; where it does not, it gets it from there.
      const before = plannedFromFile(now.resolved, { item: `key-${newId()}`, now: clock.now() })
      const isHeld = before === undefined || keeper.find(before.key, before.about.cloudApiUrl) !== undefined
      const edit = { kind: 'set', name: profile, settings: { PREFECT_API_KEY: found.apiKey } } as const
      return { act: 'mirror', edits: [edit], ...(isHeld ? {} : { keys: [before] }) }
    })
    const apiKey = written
    if (apiKey === undefined) return
    log.info({ profile, fingerprint: apiKey.fingerprint() }, 'key mirrored into profiles.toml')
  } catch (error) {
    if (!isBrokerError(error)) throw error
    log.warn({ profile, error }, 'key not mirrored into profiles.toml')
  }
}

/** The key that is served, if it is one of ours and not in the file. */
function keyToMirror({ resolved, outcome, keySource }: ProfileState) {
  if (outcome.kind !== 'served' || resolved.kind !== 'cloud' || keySource !== 'vault') return undefined
  const { apiKey, item } = outcome.served
  if (apiKey === undefined || item === undefined || resolved.source !== 'file') return undefined
  return resolved.fileKey?.fingerprint() === apiKey.fingerprint() ? undefined : { apiKey, item }
}
