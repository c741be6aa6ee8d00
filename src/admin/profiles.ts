/** Changes of profiles that the owner asks for: in the file, and of the keys that belong to them. */
import { BrokerError } from '../base/errors.js'
import type { Events } from '../base/events.js'
import type { Changes } from '../keys/change.js'
import { heirsOf } from '../keys/from-file.js'
import type { ChangePlan } from '../keys/intent.js'
import type { KeyKeeper } from '../keys/keeper.js'
import { keysOf } from '../keys/ledger.js'
import type { KeyRotator } from '../keys/rotate.js'
import { normaliseApiUrl } from '../prefect/api-url.js'
import type { CloudApi, CloudDefaults } from '../prefect/cloud.js'
import { BUNDLED_PROFILES, requireNewProfileName, shownName } from '../profiles/bundled.js'
import type { ProfileEdit, ProfileReading, ProfileStore } from '../profiles/profile.js'
import type { Credentials } from '../serve/credentials.js'
import type { Secret } from '../std/secret.js'
import { quoteWord } from '../std/text.js'
import { adoptKey } from './adopt.js'
import { type LogoutOutcome, logOut } from './logout.js'

export interface ProfileAdmin {
  /** Makes it the active profile. */
  use(name: string): Promise<void>
  create(wanted: {
    readonly name: string
    readonly apiUrl?: string
    readonly authString?: Secret
  }): Promise<void>
  /** `null` removes. */
  change(
    name: string,
    wanted: { readonly apiUrl?: string | null; readonly authString?: Secret | null },
  ): Promise<void>
  delete(name: string): Promise<void>
  rename(name: string, to: string): Promise<void>
  /** Moves the file's plain-text key into the vault. Rejects with `profile_has_no_key` if there is none. */
  adopt(name: string): Promise<{ readonly fingerprint: string; readonly message: string }>
  /** Forgets the profile's keys and keeps its URL; with `revoke` deletes what it can at Prefect first; with `keepUnrevoked`, keeps the rest out of use. */
  logout(
    name: string,
    options: { readonly revoke: boolean; readonly keepUnrevoked?: boolean },
  ): Promise<LogoutOutcome>
}

export function createProfileAdmin({
  store,
  keeper,
  credentials,
  cloud,
  changes,
  rotator,
  events,
  defaults,
  now,
  newId,
  leaveShare,
  settle,
}: {
  readonly store: ProfileStore
  readonly keeper: KeyKeeper
  readonly credentials: Credentials
  readonly cloud: CloudApi
  readonly changes: Changes
  readonly rotator: Pick<KeyRotator, 'recover'>
  readonly events: Events
  readonly defaults: CloudDefaults
  readonly now: () => number
  readonly newId: () => string
  readonly leaveShare: (share: string, profile: string) => Promise<readonly string[]>
  /** Brings what is served up to date. */
  readonly settle: () => Promise<void>
}): ProfileAdmin {
  /** `null` removes it. */
  function planAuthString(
    profile: string,
    apiUrl: string | undefined,
    text: Secret | null | undefined,
  ): Pick<ChangePlan, 'authString' | 'outcome'> {
    if (text === undefined) return {}
    if (text === null) return { outcome: { auth: { profile } } }
    const item = `auth-${newId()}`
    return { authString: { item, apiUrl: apiUrl ?? '', text }, outcome: { auth: { profile, item } } }
  }

  return {
    async use(name) {
      credentials.state(name)
      await changes.run([name], () => ({
        act: 'use',
        edits: [...writeBundled(store, name), { kind: 'set_active', name }],
      }))
    },

    async create({ name, apiUrl, authString }) {
      requireNewProfileName(name)
      const url = apiUrl === undefined ? undefined : normaliseApiUrl(apiUrl, defaults)
      requireHome(name, url, authString)
      await changes.run([name], ({ file }) => {
        if (file.profiles.has(name)) throw exists(name)
        const settings = url === undefined ? {} : { PREFECT_API_URL: url }
        const auth = planAuthString(name, url, authString)
        return { act: 'create', edits: [{ kind: 'create', name, settings }], ...auth }
      })
    },

    async change(name, { apiUrl, authString }) {
      const url = typeof apiUrl === 'string' ? normaliseApiUrl(apiUrl, defaults) : undefined
      await changes.run([name], async () => {
        await settle()
        const { resolved } = credentials.state(name)
        const effectiveUrl = apiUrl === undefined ? resolved.apiUrl : url
        requireHome(name, effectiveUrl, authString)
        // The one in the file would take precedence over the newer one in the vault.
        const isInFile = authString !== undefined && resolved.fileAuthString !== undefined
        const settings = {
          ...(apiUrl === undefined ? {} : { PREFECT_API_URL: url }),
          ...(isInFile ? { PREFECT_API_AUTH_STRING: undefined } : {}),
        }
        const edits = Object.keys(settings).length > 0 ? [{ kind: 'set', name, settings } as const] : []
        return { act: 'set', edits, ...planAuthString(name, effectiveUrl, authString) }
      })
    },

    async delete(name) {
      await changes.run([name], async (reading) => {
        requireInFile(reading, name)
        await settle()
        if (credentials.state().resolved.name === name) {
          throw new BrokerError('profile_in_use', `profile ${shownName(name)} is the active one`, {
            hint: 'prefect-auth profile use ANOTHER',
          })
        }
        const { authItem } = keeper.profile(name)
        const records = keysOf(keeper.ledger(), name)
        const heirs = heirsOf(reading.file, name, records)
        const own = records.map(({ item }) => item).filter((item) => !Object.hasOwn(heirs, item))
        const outcome = { forget: { profile: name, items: [...own, authItem ?? []].flat(), heirs } }
        return { act: 'delete', edits: [{ kind: 'delete', name }], outcome }
      })
    },

    async rename(name, to) {
      requireNewProfileName(to)
      await changes.run([name, to], (reading) => {
        requireInFile(reading, name)
        if (reading.file.profiles.has(to)) throw exists(to)
        return {
          act: 'rename',
          edits: [{ kind: 'rename', name, to }],
          outcome: { rename: { from: name, to } },
        }
      })
    },

    adopt: (name) => adoptKey({ changes, keeper, credentials, cloud, events, now, newId, settle }, name),
    logout: (name, { revoke, keepUnrevoked }) =>
      logOut(
        { changes, keeper, rotator, credentials, events, now, newId, leaveShare, settle },
        name,
        revoke,
        keepUnrevoked,
      ),
  }
}

/** An auth string belongs to a URL: without one it could be sent anywhere. */
function requireHome(name: string, apiUrl: string | undefined, authString: Secret | null | undefined): void {
  if (apiUrl !== undefined || authString === undefined || authString === null) return
  throw new BrokerError(
    'api_url_invalid',
    `profile ${shownName(name)} needs an API URL before it can have an auth string`,
    {
      hint: `prefect-auth profile set ${quoteWord(name)} --api-url URL --auth-string-stdin`,
    },
  )
}

/**
 * Prefect 3 falls back to `ephemeral` if `active` names a bundled profile that is not in the file
 * (PrefectHQ/prefect#16118): written out, it means the same to every client.
 */
function writeBundled(store: ProfileStore, name: string): readonly ProfileEdit[] {
  const bundled = BUNDLED_PROFILES.get(name)
  if (bundled?.PREFECT_API_URL === undefined || store.reading().file.profiles.has(name)) return []
  return [{ kind: 'create', name, settings: { PREFECT_API_URL: bundled.PREFECT_API_URL } }]
}

function requireInFile({ file, path }: ProfileReading, name: string): void {
  if (file.profiles.has(name)) return
  throw new BrokerError('profile_not_found', `profile ${shownName(name)} is not in ${path}`, {
    hint: 'prefect-auth profile ls',
  })
}

function exists(name: string): BrokerError {
  return new BrokerError('profile_exists', `profile ${shownName(name)} already exists`, {
    hint: `prefect-auth profile set ${quoteWord(name)} --api-url URL`,
  })
}
