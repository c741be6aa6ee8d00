/** Changes of profiles that the owner asks for: in the file, and of the keys that belong to them. */
import { BrokerError } from '../base/errors.js'
import type { Events } from '../base/events.js'
import type { Journal } from '../keys/journal.js'
import type { KeyKeeper } from '../keys/keeper.js'
import type { Document } from '../os/document.js'
import { normaliseApiUrl } from '../prefect/api-url.js'
import type { CloudApi, CloudDefaults } from '../prefect/cloud.js'
import { BUNDLED_PROFILES, requireNewProfileName, shownName } from '../profiles/bundled.js'
import type { ProfileEdit, ProfileStore } from '../profiles/profile.js'
import type { Credentials } from '../serve/credentials.js'
import type { Secret } from '../std/secret.js'
import { quoteWord } from '../std/text.js'
import { adoptKey } from './adopt.js'
import { type LogoutOutcome, logOut } from './logout.js'
import { renameProfile } from './rename.js'

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
  /** Forgets the profile's keys and keeps its URL; with `revoke` deletes what it can at Prefect first. */
  logout(name: string, options: { readonly revoke: boolean }): Promise<LogoutOutcome>
}

export function createProfileAdmin({
  store,
  keeper,
  credentials,
  cloud,
  journal,
  events,
  defaults,
  now,
  newId,
  settle,
}: {
  readonly store: ProfileStore
  readonly keeper: KeyKeeper
  readonly credentials: Credentials
  readonly cloud: CloudApi
  readonly journal: Document<Journal>
  readonly events: Events
  readonly defaults: CloudDefaults
  readonly now: () => number
  readonly newId: () => string
  /** Brings what is served up to date. */
  readonly settle: () => Promise<void>
}): ProfileAdmin {
  const keepAuthString = (name: string, apiUrl: string | undefined, authString: Secret | null | undefined) =>
    authString === undefined
      ? Promise.resolve()
      : keeper.storeAuthString(name, apiUrl ?? '', `auth-${newId()}`, authString ?? undefined)

  return {
    async use(name) {
      credentials.state(name)
      await store.edit([...writeBundled(store, name), { kind: 'set_active', name }])
      await settle()
    },

    async create({ name, apiUrl, authString }) {
      requireNewProfileName(name)
      const url = apiUrl === undefined ? undefined : normaliseApiUrl(apiUrl, defaults)
      if (store.reading().file.profiles.has(name)) throw exists(name)
      requireHome(name, url, authString)
      await store.edit([
        { kind: 'create', name, settings: url === undefined ? {} : { PREFECT_API_URL: url } },
      ])
      await keepAuthString(name, url, authString)
      await settle()
    },

    async change(name, { apiUrl, authString }) {
      const { resolved } = credentials.state(name)
      const url = typeof apiUrl === 'string' ? normaliseApiUrl(apiUrl, defaults) : undefined
      const effectiveUrl = apiUrl === undefined ? resolved.apiUrl : url
      requireHome(name, effectiveUrl, authString)
      // The file first: if it cannot be written, the auth string of the old URL is still there.
      if (apiUrl !== undefined) await store.edit([{ kind: 'set', name, settings: { PREFECT_API_URL: url } }])
      await keepAuthString(name, effectiveUrl, authString)
      // The one in the file would take precedence over the newer one in the vault.
      if (authString !== undefined && resolved.fileAuthString !== undefined) {
        await store.edit([{ kind: 'set', name, settings: { PREFECT_API_AUTH_STRING: undefined } }])
      }
      await settle()
    },

    async delete(name) {
      requireInFile(store, name)
      if (credentials.state().resolved.name === name) {
        throw new BrokerError('profile_in_use', `profile ${shownName(name)} is the active one`, {
          hint: 'prefect-auth profile use ANOTHER',
        })
      }
      await store.edit([{ kind: 'delete', name }])
      await keeper.forgetProfile(name)
      await settle()
    },

    async rename(name, to) {
      requireNewProfileName(to)
      requireInFile(store, name)
      if (store.reading().file.profiles.has(to)) throw exists(to)
      await renameProfile({ store, keeper, journal, newId }, name, to)
      await settle()
    },

    adopt: (name) => adoptKey({ store, keeper, credentials, cloud, events, now, newId, settle }, name),
    logout: (name, { revoke }) => logOut({ store, keeper, credentials, cloud, events, settle }, name, revoke),
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

function requireInFile(store: ProfileStore, name: string): void {
  const { file, path } = store.reading()
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
