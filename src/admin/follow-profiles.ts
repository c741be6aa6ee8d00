/** Watches over the profile file: says what changed, and does what `profiles.adopt` and `profiles.mirror` ask for. */

import type { Audit } from '../audit/audit.js'
import { isBrokerError } from '../base/errors.js'
import type { Events } from '../base/events.js'
import type { KeyKeeper } from '../keys/keeper.js'
import type { ProfileReading, ProfileStore } from '../profiles/profile.js'
import type { ProfileState } from '../serve/credentials.js'
import type { ServingCredentials } from '../serve/serve.js'
import { createSerial } from '../std/async.js'
import type { Log } from '../std/log.js'
import type { ProfileAdmin } from './profiles.js'

interface MindProfilesDeps {
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
  /** Looks now, as after every change. */
  look(): Promise<void>
  close(): Promise<void>
}

export function createProfileMinder(deps: MindProfilesDeps): ProfileMinder {
  const { store, keeper, log } = deps
  const serial = createSerial()
  const memory: Memory = { reported: new Set(), refused: new Set() }
  let last: ProfileReading | undefined

  const look = () =>
    serial.run(async () => {
      const reading = store.reading()
      if (last !== undefined && reading !== last) tell(deps.events, reading)
      last = reading
      await deps.credentials.settle()
      for (const state of deps.credentials.states()) await mind(deps, state, memory)
    })
  const lookSoon = () => {
    look().catch((error: unknown) => log.error({ error }, 'a change of the profiles could not be followed'))
  }
  const stops = [store.onChange(lookSoon), ...(deps.policy.mirror ? [keeper.onChange(lookSoon)] : [])]
  return {
    look,
    async close() {
      for (const stop of stops) stop()
      await serial.run(async () => undefined)
    },
  }
}

function tell(events: Events, { state, problem, file }: ProfileReading): void {
  if (state === 'good')
    events.emit('profiles.changed', {
      facts: { active: file.active ?? '', profiles: [...file.profiles.keys()] },
    })
  else events.emit('profiles.invalid', { facts: { state, problem: problem ?? '' } })
}

/** Fingerprints of plain-text keys that were told of, and of those that Prefect does not accept. */
interface Memory {
  readonly reported: Set<string>
  readonly refused: Set<string>
}

async function mind(deps: MindProfilesDeps, state: ProfileState, memory: Memory): Promise<void> {
  const { policy } = deps
  const { resolved, keySource } = state
  if (resolved.kind !== 'cloud') return
  if (keySource === 'file') await mindPlainKey(deps, state, memory)
  else if (policy.mirror) await mirror(deps, state)
  else if (policy.adopt === 'auto' && resolved.fileKey !== undefined && resolved.fileKey.length > 0) {
    await adopt(deps, resolved.name, resolved.fileKey.fingerprint(), memory)
  }
}

/** Said once per key; the offer to adopt it also stands in the profile's warnings. */
async function mindPlainKey(
  deps: MindProfilesDeps,
  { resolved, key }: ProfileState,
  memory: Memory,
): Promise<void> {
  const fingerprint = key?.fingerprint ?? ''
  if (!memory.reported.has(fingerprint)) {
    memory.reported.add(fingerprint)
    deps.events.emit('profiles.plaintext_key', { profile: resolved.name, facts: { fingerprint } })
    deps.log.warn({ profile: resolved.name, fingerprint }, 'a plain-text API key stands in profiles.toml')
  }
  if (deps.policy.adopt === 'auto') await adopt(deps, resolved.name, fingerprint, memory)
}

/** Prefect's no to a key is final: it is not asked again at every look. */
async function adopt(
  { admin, audit, log }: MindProfilesDeps,
  name: string,
  fingerprint: string,
  { refused }: Memory,
): Promise<void> {
  if (refused.has(fingerprint)) return
  try {
    await admin.adopt(name)
    // What a caller asks for is written down at the door; this nobody asked for.
    audit.record({ action: 'adopt', outcome: 'done', door: 'daemon', profile: name, fingerprint })
  } catch (error) {
    if (!isBrokerError(error)) throw error
    if (isBrokerError(error, 'key_rejected', 'key_malformed')) refused.add(fingerprint)
    log.warn({ profile: name, error }, 'the plain-text key could not be adopted')
  }
}

/** The key is marked as handed out before it stands in a file that anything may read. */
async function mirror(
  { store, keeper, log }: MindProfilesDeps,
  { resolved, outcome }: ProfileState,
): Promise<void> {
  if (outcome.kind !== 'served') return
  const { apiKey, item, profile } = outcome.served
  if (apiKey === undefined || item === undefined || resolved.source !== 'file') return
  if (resolved.fileKey?.fingerprint() === apiKey.fingerprint()) return
  await keeper.markHandedOut(item)
  // A log-out may have come in between; from here to the edit nothing can.
  if (keeper.profile(profile).currentItem !== item) return
  try {
    await store.edit([{ kind: 'set', name: profile, settings: { PREFECT_API_KEY: apiKey } }])
    log.info(
      { profile, fingerprint: apiKey.fingerprint() },
      'the current key was mirrored into profiles.toml',
    )
  } catch (error) {
    if (!isBrokerError(error)) throw error
    log.warn({ profile, error }, 'the current key could not be mirrored into profiles.toml')
  }
}
