/** Changes of profiles that an owner asks for: the file and the keys that go with it. */
import { BrokerError } from '../base/errors.js'
import { normaliseApiUrl } from '../prefect/api-url.js'
import { BUNDLED_PROFILES, requireNewProfileName, shownName } from '../profiles/bundled.js'
import type { ProfileEdit } from '../profiles/profile.js'
import type { Secret } from '../std/secret.js'
import { quoteWord } from '../std/text.js'
import { adoptKey } from './adopt.js'
import { forgetKeys, type LogoutOutcome, logOut } from './logout.js'
import type { ProfileChangeDeps } from './rename.js'
import { renameProfile } from './rename.js'

export interface ProfileAdmin {
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
  /** Moves the file's plain-text key into the vault, then out of the file. `profile_has_no_key` where there is none. */
  adopt(name: string): Promise<{ readonly fingerprint: string; readonly message: string }>
  /** Forgets our key everywhere and keeps the URL; with `revoke` deletes what it can at Prefect first. */
  logout(name: string, options: { readonly revoke: boolean }): Promise<LogoutOutcome>
}

export function createProfileAdmin(deps: ProfileChangeDeps): ProfileAdmin {
  const { store, keeper, settle, newId } = deps

  const keepAuthString = (name: string, apiUrl: string | undefined, authString: Secret | null | undefined) =>
    authString === undefined
      ? Promise.resolve()
      : keeper.storeAuthString(name, apiUrl ?? '', `auth-${newId()}`, authString ?? undefined)

  return {
    async use(name) {
      deps.credentials.state(name)
      await store.edit([...writeBundled(deps, name), { kind: 'set_active', name }])
      await settle()
    },

    async create({ name, apiUrl, authString }) {
      requireNewProfileName(name)
      const url = apiUrl === undefined ? undefined : normaliseApiUrl(apiUrl, deps.defaults)
      if (store.reading().file.profiles.has(name)) throw exists(name)
      requireHome(name, url, authString)
      await store.edit([
        { kind: 'create', name, settings: url === undefined ? {} : { PREFECT_API_URL: url } },
      ])
      await keepAuthString(name, url, authString)
      await settle()
    },

    async change(name, { apiUrl, authString }) {
      const { resolved } = deps.credentials.state(name)
      const url = typeof apiUrl === 'string' ? normaliseApiUrl(apiUrl, deps.defaults) : undefined
      const effectiveUrl = apiUrl === undefined ? resolved.apiUrl : url
      requireHome(name, effectiveUrl, authString)
      // The file first: where it can't be written, the auth string that the old URL needs is still there.
      if (apiUrl !== undefined) await store.edit([{ kind: 'set', name, settings: { PREFECT_API_URL: url } }])
      await keepAuthString(name, effectiveUrl, authString)
      // What is kept in the vault must not be hidden by an older one in the file.
      if (authString !== undefined && resolved.fileAuthString !== undefined) {
        await store.edit([{ kind: 'set', name, settings: { PREFECT_API_AUTH_STRING: undefined } }])
      }
      await settle()
    },

    async delete(name) {
      requireInFile(deps, name)
      if (deps.credentials.state().resolved.name === name) {
        throw new BrokerError('profile_in_use', `profile ${shownName(name)} is the active one`, {
          hint: 'prefect-auth profile use ANOTHER',
        })
      }
      await store.edit([{ kind: 'delete', name }])
      await forgetKeys(keeper, name)
      await settle()
    },

    async rename(name, to) {
      requireNewProfileName(to)
      requireInFile(deps, name)
      if (store.reading().file.profiles.has(to)) throw exists(to)
      await renameProfile(deps, name, to)
      await settle()
    },

    adopt: (name) => adoptKey(deps, name),
    logout: (name, { revoke }) => logOut(deps, name, revoke),
  }
}

/** An auth string belongs to a URL; one without a URL could be sent anywhere. */
function requireHome(name: string, apiUrl: string | undefined, authString: Secret | null | undefined): void {
  if (apiUrl !== undefined || authString === undefined || authString === null) return
  throw new BrokerError(
    'api_url_invalid',
    `profile ${shownName(name)} has no API URL that an auth string could belong to`,
    {
      hint: `prefect-auth profile set ${quoteWord(name)} --api-url URL --auth-string-stdin`,
    },
  )
}

/**
 * Prefect 3 runs with `ephemeral` where `active` names a bundled profile that the file does not have
 * (PrefectHQ/prefect#16118): written out, it means the same to everyone.
 */
function writeBundled({ store }: ProfileChangeDeps, name: string): readonly ProfileEdit[] {
  const bundled = BUNDLED_PROFILES.get(name)
  if (bundled?.PREFECT_API_URL === undefined || store.reading().file.profiles.has(name)) return []
  return [{ kind: 'create', name, settings: { PREFECT_API_URL: bundled.PREFECT_API_URL } }]
}

function requireInFile({ store }: ProfileChangeDeps, name: string): void {
  const { file, path } = store.reading()
  if (file.profiles.has(name)) return
  throw new BrokerError('profile_not_found', `profile ${shownName(name)} does not stand in ${path}`, {
    hint: 'prefect-auth profile ls',
  })
}

function exists(name: string): BrokerError {
  return new BrokerError('profile_exists', `there is a profile ${shownName(name)} already`, {
    hint: `prefect-auth profile set ${quoteWord(name)} --api-url URL`,
  })
}
