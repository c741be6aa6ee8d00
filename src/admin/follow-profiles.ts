/** Follows the profile file: announces changes, and carries out `profiles.adopt` and `profiles.mirror`. */

import type { Audit } from '../audit/audit.js'
import { isBrokerError } from '../base/errors.js'
import type { Events } from '../base/events.js'
import type { KeyKeeper } from '../keys/keeper.js'
import type { Overwritten, ProfileReading, ProfileStore } from '../profiles/profile.js'
import { isSameReading } from '../profiles/reading.js'
import type { ProfileState } from '../serve/credentials.js'
import type { ServingCredentials } from '../serve/serve.js'
import { createSerial } from '../std/async.js'
import { defined } from '../std/defined.js'
import type { Log } from '../std/log.js'
import type { ProfileAdmin } from './profiles.js'

interface ProfileMinderParts {
  readonly store: ProfileStore
  readonly credentials: ServingCredentials
  readonly keeper: KeyKeeper
  readonly admin: Pick<ProfileAdmin, 'adopt'>
  readonly events: Events
  readonly audit: Audit
  readonly log: Log
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
  const memory: Memory = { reported: new Set(), refused: new Set() }
  let last: ProfileReading | undefined

  const look = () =>
    serial.run(async () => {
      const reading = store.reading()
      // Every look at the file makes another reading: only its content says whether something changed.
      if (last !== undefined && !isSameReading(last, reading)) announce(deps.events, reading)
      last = reading
      await deps.credentials.settle()
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
  const keys = [...(file?.profiles.values() ?? [])].flatMap(({ apiKey }) => apiKey?.fingerprint() ?? [])
  const facts = { merged: isMerged, fingerprints: keys, ...defined({ kept_at: keptAt }) }
  events.emit('profiles.overwritten', { facts })
}

/** Fingerprints of plain-text keys that were reported, and of those that Prefect rejected. */
interface Memory {
  readonly reported: Set<string>
  readonly refused: Set<string>
}

async function follow(deps: ProfileMinderParts, state: ProfileState, memory: Memory): Promise<void> {
  const { policy } = deps
  const { resolved, keySource } = state
  if (resolved.kind !== 'cloud') return
  if (keySource === 'file') await followPlainKey(deps, state, memory)
  else if (policy.mirror) await mirror(deps, state)
  else if (policy.adopt === 'auto' && resolved.fileKey !== undefined && resolved.fileKey.length > 0) {
    await adopt(deps, resolved.name, resolved.fileKey.fingerprint(), memory)
  }
}

/** Reported once per key; the profile's warnings also offer to adopt it. */
async function followPlainKey(
  deps: ProfileMinderParts,
  { resolved, key }: ProfileState,
  memory: Memory,
): Promise<void> {
  const fingerprint = key?.fingerprint ?? ''
  if (!memory.reported.has(fingerprint)) {
    memory.reported.add(fingerprint)
    deps.events.emit('profiles.plaintext_key', { profile: resolved.name, facts: { fingerprint } })
    deps.log.warn({ profile: resolved.name, fingerprint }, 'plain-text API key in profiles.toml')
  }
  if (deps.policy.adopt === 'auto') await adopt(deps, resolved.name, fingerprint, memory)
}

/** A rejection by Prefect is final: the key is not tried again at every look. */
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
    if (isBrokerError(error, 'key_rejected', 'key_malformed')) refused.add(fingerprint)
    log.warn({ profile: name, error }, 'plain-text key not adopted')
  }
}

/** The key is marked as handed out before it is in a file that any process may read. */
async function mirror(
  { store, keeper, log }: ProfileMinderParts,
  { resolved, outcome }: ProfileState,
): Promise<void> {
  if (outcome.kind !== 'served') return
  const { apiKey, item, profile } = outcome.served
  if (apiKey === undefined || item === undefined || resolved.source !== 'file') return
  if (resolved.fileKey?.fingerprint() === apiKey.fingerprint()) return
  await keeper.markHandedOut(item)
  // A log-out may have come in between; from here to the edit nothing can.
  if (keeper.current(profile)?.item !== item) return
  try {
    await store.edit([{ kind: 'set', name: profile, settings: { PREFECT_API_KEY: apiKey } }])
    log.info({ profile, fingerprint: apiKey.fingerprint() }, 'key mirrored into profiles.toml')
  } catch (error) {
    if (!isBrokerError(error)) throw error
    log.warn({ profile, error }, 'key not mirrored into profiles.toml')
  }
}
