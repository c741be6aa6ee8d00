/** The checks that `doctor` runs over the parts of the daemon; each returns a finding and, if there is one, a command. */

import { BrokerError } from '../base/errors.js'
import { shownName } from '../profiles/bundled.js'
import type { ProfileReading } from '../profiles/profile.js'
import type { RenewalAdmin } from '../renewal/renewal.js'
import type { RenewalView } from '../renewal/view.js'
import type { Credentials, ProfileState } from '../serve/credentials.js'
import { DAY_MS, MINUTE_MS } from '../std/clock.js'
import { defined } from '../std/defined.js'
import { loginCommand, quoteWord } from '../std/text.js'
import { formatDuration, formatLeft } from '../std/time.js'
import type { ListenerFacts } from '../tokens/access.js'
import type { Vault, VaultDescription } from '../vault/vault.js'
import { type Check, type Finding, judgeListeners } from './listeners.js'
import { examinePrefect, type PrefectParts } from './prefect.js'

/** One check. If it throws, its verdict is `unknown`. */
export interface Examination {
  readonly name: string
  /** `profile`: the one that is asked about, else it is the active one. */
  examine(profile?: string): Promise<Finding>
}

/** Which checks to run, and about which profile. */
export interface DoctorQuestion {
  readonly profile?: string
  /** Of this name alone. */
  readonly check?: string
}

interface ExaminationParts extends PrefectParts {
  readonly vault: Vault
  readonly listeners: () => readonly ListenerFacts[]
  readonly notices: () => readonly string[]
  /** Our clock minus Prefect's at its last response, ms; `undefined` before the first. */
  readonly clockSkewMs: (profile?: string) => number | undefined
  readonly trouble: () => { readonly message: string; readonly hint?: string | undefined } | undefined
  readonly auditProblem: () => string | undefined
  readonly now: () => number
}

const MAX_SKEW_MS = 5 * MINUTE_MS

/** Runs the checks at once and returns their results in the order given. Throws `bad_request` for an unknown one. */
export async function examine(
  examinations: readonly Examination[],
  { profile, check }: DoctorQuestion = {},
): Promise<Check[]> {
  const wanted = examinations.filter(({ name }) => check === undefined || name === check)
  if (wanted.length === 0) throw unknownCheck(examinations)
  return Promise.all(
    wanted.map(async ({ name, examine }) => {
      try {
        return { name, ...(await examine(profile)) }
      } catch (error) {
        const finding = error instanceof Error ? error.message : 'the check itself failed'
        return { name, verdict: 'unknown' as const, finding }
      }
    }),
  )
}

function unknownCheck(examinations: readonly Examination[]): BrokerError {
  const names = examinations.map(({ name }) => `'${name}'`).join(', ')
  return new BrokerError('bad_request', `there is no check of that name; there are: ${names}`)
}

export function planExaminations({
  credentials,
  cloud,
  askServer,
  vault,
  listeners,
  notices,
  clockSkewMs,
  trouble,
  auditProblem,
  now,
}: ExaminationParts): readonly Examination[] {
  return [
    { name: 'listeners', examine: async () => judgeListeners(listeners()) },
    { name: 'vault', examine: async () => judgeVault(await failureOf(vault.prove()), vault.describe()) },
    { name: 'profiles file', examine: async () => judgeFile(credentials.reading()) },
    { name: 'plain-text keys', examine: async () => judgePlainKeys(credentials.states()) },
    { name: 'profile', examine: async (profile) => judgeProfile(credentials.state(profile), now()) },
    { name: 'keys', examine: async () => judgeKeys(credentials.states()) },
    { name: 'prefect', examine: (profile) => examinePrefect({ credentials, cloud, askServer }, profile) },
    { name: 'clock', examine: async (profile) => judgeClock(clockSkewMs(profile)) },
    { name: 'audit log', examine: async () => judgeProblem(auditProblem(), 'written') },
    { name: 'state', examine: async () => judgeState(trouble(), notices()) },
  ]
}

export function planRenewalExamination({
  credentials,
  renewal,
}: {
  readonly credentials: Credentials
  readonly renewal: Pick<RenewalAdmin, 'view'>
}): Examination {
  return {
    name: 'renewal',
    examine: async () => judgeRenewals(viewRenewals(credentials.states(), renewal)),
  }
}

/** The renewals of all profiles that we hold a key for, by name. */
export function viewRenewals(
  profiles: readonly ProfileState[],
  renewal: Pick<RenewalAdmin, 'view'>,
): readonly (readonly [name: string, view: RenewalView])[] {
  return profiles.flatMap(({ resolved: { name } }) => {
    const view = renewal.view(name)
    return view === undefined ? [] : [[name, view] as const]
  })
}

/** What `work` rejected with; `undefined` if it did not. */
function failureOf(work: Promise<void>): Promise<unknown> {
  return work.then(
    () => undefined,
    (error: unknown) => error ?? 'unknown',
  )
}

/** `failure`: why a test value could not be stored and read back. */
export function judgeVault(
  failure: unknown,
  { problem, backend, atRest }: Pick<VaultDescription, 'problem' | 'backend' | 'atRest'>,
): Finding {
  if (failure !== undefined) {
    const known = failure instanceof BrokerError ? failure : undefined
    return {
      verdict: 'problem',
      finding: problem?.message ?? known?.message ?? 'the vault does not work',
      ...defined({ remedy: problem?.hint ?? known?.hint }),
    }
  }
  if (atRest !== 'not protected') return { verdict: 'ok', finding: `${backend}, at rest: ${atRest}` }
  return {
    verdict: 'warning',
    finding: `${backend}, at rest: not protected (the key file is stored next to the keys)`,
    remedy: 'prefect-auth vault move --to passphrase, or to keychain or systemd-creds',
  }
}

export function judgeFile({
  state,
  path,
  problem,
  isUnread,
  warnings = [],
}: Pick<ProfileReading, 'state' | 'path' | 'problem' | 'isUnread' | 'warnings'>): Finding {
  switch (state) {
    case 'good':
      return warnings.length === 0
        ? { verdict: 'ok', finding: path }
        : { verdict: 'warning', finding: warnings.join('; ') }
    case 'missing':
      return { verdict: 'ok', finding: `${path} does not exist yet` }
    case 'empty':
    case 'invalid':
    case 'unreadable':
      return {
        verdict: 'problem',
        finding: isUnread
          ? (problem ?? `${path} is ${state}`)
          : `${path}: ${problem ?? state}; the last valid version is in use`,
        remedy: `fix ${path}`,
      }
  }
}

export function judgePlainKeys(profiles: readonly Pick<ProfileState, 'keySource' | 'resolved'>[]): Finding {
  const names = profiles.filter(({ keySource }) => keySource === 'file').map(({ resolved }) => resolved.name)
  const [first] = names
  if (first === undefined)
    return { verdict: 'ok', finding: 'profiles.toml contains no API key in plain text' }
  return {
    verdict: 'warning',
    finding: `profiles.toml contains an API key in plain text: ${names.map(shownName).join(', ')}`,
    remedy: `prefect-auth adopt --profile ${quoteWord(first)}`,
  }
}

/** What Prefect's answers so far say of the keys of all profiles; a rejected one is worse than a doubted one. */
export function judgeKeys(profiles: readonly Pick<ProfileState, 'standing'>[]): Finding {
  const standings = profiles.flatMap(({ standing }) => standing ?? [])
  const worst = standings.find(({ kind }) => kind === 'rejected') ?? standings[0]
  if (worst === undefined) return { verdict: 'ok', finding: 'Prefect refuses none of them' }
  const others = standings.length === 1 ? '' : ` (and ${standings.length - 1} more)`
  return {
    verdict: worst.kind === 'rejected' ? 'problem' : 'warning',
    finding: `${worst.message}${others}`,
    remedy: worst.hint,
  }
}

/** `now`: epoch ms. */
export function judgeProfile(
  { resolved, outcome, key }: Pick<ProfileState, 'resolved' | 'outcome' | 'key'>,
  now: number,
): Finding {
  if (outcome.kind === 'refused') {
    const { message, hint } = outcome.error
    return { verdict: 'problem', finding: message, ...defined({ remedy: hint }) }
  }
  const left = key?.expiresAt === undefined ? undefined : key.expiresAt - now
  if (left !== undefined && left < 7 * DAY_MS) {
    const when = left <= 0 ? 'has expired' : `expires in ${formatLeft(left)}`
    return {
      verdict: left < DAY_MS ? 'problem' : 'warning',
      finding: `the key of profile ${shownName(resolved.name)} ${when}`,
      remedy: loginCommand(resolved.name),
    }
  }
  return { verdict: 'ok', finding: `${resolved.name}: ${resolved.because}` }
}

export function judgeClock(skewMs: number | undefined): Finding {
  if (skewMs === undefined) return { verdict: 'unknown', finding: 'no request to Prefect since the start' }
  if (Math.abs(skewMs) <= MAX_SKEW_MS) return { verdict: 'ok', finding: "agrees with Prefect's" }
  const off = formatDuration(Math.round(Math.abs(skewMs) / MINUTE_MS) * MINUTE_MS)
  return {
    verdict: 'problem',
    finding: `this machine's clock is ${off} ${skewMs > 0 ? 'ahead of' : 'behind'} Prefect's`,
    remedy: 'timedatectl set-ntp true',
  }
}

/** `trouble`: why the disk does not have what is served. */
export function judgeState(
  trouble: { readonly message: string; readonly hint?: string | undefined } | undefined,
  notices: readonly string[],
): Finding {
  if (trouble === undefined) return judgeProblem(notices.join('; ') || undefined, 'nothing to report')
  const finding = [`${trouble.message}; what memory has is served`, ...notices].join('; ')
  return { verdict: 'problem', finding, ...defined({ remedy: trouble.hint }) }
}

function judgeProblem(problem: string | undefined, good: string): Finding {
  return problem === undefined ? { verdict: 'ok', finding: good } : { verdict: 'problem', finding: problem }
}

export function judgeRenewals(
  views: readonly (readonly [name: string, view: Pick<RenewalView, 'plan' | 'trouble'>])[],
): Finding {
  for (const [, { trouble }] of views) {
    if (trouble) return { verdict: 'problem', finding: trouble.message, remedy: trouble.hint }
  }
  for (const [name, { plan }] of views) {
    if (plan.kind !== 'not_renewable') continue
    const finding = `the key of profile ${shownName(name)} is not renewed: ${plan.why}`
    return { verdict: 'warning', finding, remedy: plan.hint }
  }
  const moments = views.flatMap(([, { plan }]) => (plan.kind === 'renew' ? [plan.at] : []))
  if (moments.length === 0) return { verdict: 'ok', finding: 'no key to renew' }
  const next = new Date(Math.min(...moments)).toISOString().slice(0, 10)
  const count = moments.length === 1 ? '1 key' : `${moments.length} keys`
  return { verdict: 'ok', finding: `${count} will be renewed, the next on ${next}` }
}
