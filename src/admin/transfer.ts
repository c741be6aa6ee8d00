/** Takes what this daemon serves to another machine: an encrypted export here, an import there. */
import { BrokerError, isBrokerError } from '../base/errors.js'
import type { LoginSessions, LoginView } from '../login/login.js'
import { workspaceIdsOf } from '../prefect/api-url.js'
import type { Credentials, ProfileState } from '../serve/credentials.js'
import { MINUTE_MS } from '../std/clock.js'
import { defined } from '../std/defined.js'
import { Secret } from '../std/secret.js'
import type { ExportedProfile as Entry, ExportContent } from '../wire/transfer.js'
import type { ProfileAdmin } from './profiles.js'

/** What became of one profile of an import. */
export interface ImportOutcome {
  readonly profile: string
  /** `kept`: what is here stays. */
  readonly outcome: 'taken' | 'kept' | 'failed'
  readonly reason: string
}

export interface Transfer<Sealed> {
  /**
   * Every profile with a secret, sealed; their keys count as handed out before it resolves. Rejects with `passphrase_weak`, and with
   * what keeps the vault from being read.
   */
  export(passphrase: Secret): Promise<{ readonly document: Sealed; readonly profiles: readonly string[] }>
  /**
   * Takes keys as a login with a pasted key does, checked by Prefect and exchanged for keys of this machine; only for profiles without
   * a key that works. Rejects with `vault_passphrase_wrong`. A profile that fails is reported, and the others are still taken.
   */
  import(document: Sealed, passphrase: Secret): Promise<readonly ImportOutcome[]>
}

/** With one of these there is certainly no key that works. */
const WITHOUT_KEY = ['login_required', 'key_rejected', 'profile_not_found'] as const

/** With one of these there may be a key, and it cannot be read now. */
const UNREADABLE = ['vault_locked', 'vault_unavailable', 'vault_timeout'] as const

export function createTransfer<Sealed>({
  credentials,
  logins,
  profiles,
  cloudApiUrl,
  requireStrong,
  seal,
  open,
  now,
}: {
  readonly credentials: Pick<Credentials, 'refresh' | 'states' | 'state' | 'markHandedOut'>
  readonly logins: Pick<LoginSessions, 'begin' | 'submitKey' | 'waitForChange' | 'cancel'>
  readonly profiles: Pick<ProfileAdmin, 'create'>
  /** Of a profile that names none. */
  readonly cloudApiUrl: string
  readonly requireStrong: (passphrase: Secret) => void
  readonly seal: (text: Secret, passphrase: Secret) => Promise<Sealed>
  readonly open: (document: Sealed, passphrase: Secret) => Promise<Secret>
  readonly now: () => number
}): Transfer<Sealed> {
  async function collect({ outcome, resolved }: ProfileState): Promise<Entry | undefined> {
    if (outcome.kind !== 'served') {
      // An export without it would look complete.
      if (isBrokerError(outcome.error, ...UNREADABLE)) throw outcome.error
      return undefined
    }
    const served = await credentials.markHandedOut(outcome.served)
    const { profile, kind, apiUrl } = served
    const secret = kind === 'cloud' ? served.apiKey : served.authString
    if (secret === undefined || apiUrl === undefined || kind === 'none') return undefined
    return {
      ...{ profile, kind, api_url: apiUrl, cloud_api_url: resolved.cloudApiUrl },
      secret: secret.reveal(), // goes into the sealed text
    }
  }

  function stateHere(profile: string): ProfileState | undefined {
    try {
      return credentials.state(profile)
    } catch (error) {
      if (isBrokerError(error, 'profile_not_found')) return undefined
      throw error
    }
  }

  /** Why the profile of this machine is left alone. */
  function whyKept(here: ProfileState | undefined, { kind }: Entry): string | undefined {
    if (here === undefined) return undefined
    if (here.resolved.kind === 'server' || (kind === 'server' && here.resolved.kind !== 'none'))
      return 'there is a profile of this name here'
    if (here.outcome.kind === 'served') return here.outcome.served.apiKey && 'it has a key here that works'
    const { error } = here.outcome
    if (isBrokerError(error, ...WITHOUT_KEY)) return undefined
    throw error
  }

  async function takeOne(one: Entry): Promise<ImportOutcome> {
    const { profile, kind, api_url, secret } = one
    const here = stateHere(profile)
    const kept = whyKept(here, one)
    if (kept !== undefined) return { profile, outcome: 'kept', reason: kept }
    if (kind === 'server') {
      await profiles.create({ name: profile, apiUrl: api_url, authString: new Secret(secret) })
      return { profile, outcome: 'taken', reason: 'the profile was created' }
    }
    if ((here?.resolved.cloudApiUrl ?? cloudApiUrl) !== one.cloud_api_url) {
      throw new BrokerError('key_host_mismatch', `its key is for ${new URL(one.cloud_api_url).host} alone`)
    }
    return logIn(one)
  }

  async function logIn({ profile, api_url, secret }: Entry): Promise<ImportOutcome> {
    const workspace = workspaceIdsOf(api_url)?.workspaceId
    const { login, isJoined } = await logins.begin({ profile, ...defined({ workspace }) })
    if (isJoined) throw new BrokerError('login_state', 'a login of this profile is pending here')
    try {
      // A service account's key cannot mint another for itself.
      const exchange = !secret.startsWith('pnb_')
      let view: LoginView = await logins.submitKey(login.id, new Secret(secret), { exchange })
      while (view.state === 'confirmed') {
        view = await logins.waitForChange(login.id, view.version, MINUTE_MS, new AbortController().signal)
      }
      if (view.state !== 'stored') {
        throw (
          view.error ?? new BrokerError('workspace_required', view.notice ?? 'its workspace cannot be used')
        )
      }
      const own =
        view.exchange?.isDone === true ? 'its key was exchanged for one of this machine' : 'its key was taken'
      return { profile, outcome: 'taken', reason: own }
    } finally {
      // Of a login that is stored nothing is left to cancel.
      await logins.cancel(login.id).catch(() => undefined)
    }
  }

  return {
    async export(passphrase) {
      requireStrong(passphrase)
      await credentials.refresh()
      const found = await Promise.all(credentials.states().map(collect))
      const all = found.filter((one) => one !== undefined)
      const made_at = new Date(now()).toISOString()
      const text = new Secret(JSON.stringify({ version: 1, made_at, profiles: all }))
      return { document: await seal(text, passphrase), profiles: all.map(({ profile }) => profile) }
    },
    async import(document, passphrase) {
      const text = await open(document, passphrase)
      const { profiles: all } = await parse(text)
      await credentials.refresh()
      const outcomes: ImportOutcome[] = []
      for (const one of all) {
        outcomes.push(
          await takeOne(one).catch((error: unknown): ImportOutcome => {
            if (!(error instanceof BrokerError)) throw error
            return { profile: one.profile, outcome: 'failed', reason: `${error.message} (${error.code})` }
          }),
        )
      }
      return outcomes
    },
  }
}

async function parse(text: Secret): Promise<ExportContent> {
  const { exportContent } = await import('../wire/transfer.js')
  try {
    return exportContent.parse(JSON.parse(text.reveal())) // was sealed by us
  } catch {
    throw new BrokerError('state_newer', 'this export was made by a newer version', {
      hint: 'install that version here',
    })
  }
}
