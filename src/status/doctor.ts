/** What the doctor looks at, over the parts of the daemon. Each answers with a finding and, where one helps, a command. */

import { BrokerError } from '../base/errors.js'
import type { CloudApi } from '../prefect/cloud.js'
import { shownName } from '../profiles/bundled.js'
import type { RenewalAdmin } from '../renewal/renewal.js'
import type { Credentials, ProfileState } from '../serve/credentials.js'
import { target } from '../serve/credentials.js'
import { defined } from '../std/defined.js'
import { loginCommand, quoteWord } from '../std/text.js'
import { formatDuration } from '../std/time.js'
import type { ListenerFacts } from '../tokens/access.js'
import type { Vault } from '../vault/vault.js'

export interface Check {
  readonly name: string
  readonly verdict: 'ok' | 'warning' | 'problem' | 'unknown'
  readonly finding: string
  readonly remedy?: string
}

/** One check: looks, and answers. A check that throws becomes the verdict `unknown`. */
export interface Examination {
  readonly name: string
  examine(): Promise<Omit<Check, 'name'>>
}

/** Runs all, at once; order of the answer is the order given. */
export function examine(examinations: readonly Examination[]): Promise<Check[]> {
  return Promise.all(
    examinations.map(async ({ name, examine }) => {
      try {
        return { name, ...(await examine()) }
      } catch (error) {
        const finding = error instanceof Error ? error.message : 'the check itself failed'
        return { name, verdict: 'unknown' as const, finding }
      }
    }),
  )
}

interface ExaminationDeps {
  readonly credentials: Credentials
  readonly cloud: CloudApi
  readonly vault: Vault
  readonly listeners: () => readonly ListenerFacts[]
  readonly notices: () => readonly string[]
  /** Our clock minus Prefect's at its last answer, ms; `undefined` before the first. */
  readonly clockSkewMs: () => number | undefined
  readonly auditProblem: () => string | undefined
  readonly now: () => number
}

type Finding = Omit<Check, 'name'>

const DAY_MS = 24 * 3_600_000
const MAX_SKEW_MS = 5 * 60_000

export function planExaminations(deps: ExaminationDeps): readonly Examination[] {
  return [
    { name: 'listeners', examine: async () => examineListeners(deps.listeners()) },
    { name: 'vault', examine: () => examineVault(deps.vault) },
    { name: 'profiles file', examine: async () => examineFile(deps.credentials) },
    { name: 'plain-text keys', examine: async () => examinePlainKeys(deps.credentials.states()) },
    { name: 'active profile', examine: async () => examineActive(deps) },
    { name: 'prefect', examine: () => examinePrefect(deps) },
    { name: 'clock', examine: async () => examineClock(deps.clockSkewMs()) },
    { name: 'audit log', examine: async () => examineProblem(deps.auditProblem(), 'written') },
    {
      name: 'state',
      examine: async () => examineProblem(deps.notices().join('; ') || undefined, 'nothing to report'),
    },
  ]
}

function examineListeners(listeners: readonly ListenerFacts[]): Finding {
  const failed = listeners.find(({ state }) => state === 'failed')
  if (failed === undefined) {
    const open = listeners.filter(({ state }) => state === 'listening')
    return { verdict: 'ok', finding: `listening on ${open.map(({ address }) => address).join(' and ')}` }
  }
  return {
    verdict: 'warning',
    finding: failed.problem ?? `${failed.address} could not be opened`,
    remedy: 'set another port (PREFECT_AUTH_PORT) and restart prefect-authd, or use the unix socket',
  }
}

async function examineVault(vault: Vault): Promise<Finding> {
  try {
    await vault.prove()
  } catch (error) {
    const { problem } = vault.describe()
    const known = error instanceof BrokerError ? error : undefined
    const remedy = problem?.hint ?? known?.hint
    return {
      verdict: 'problem',
      finding: problem?.message ?? known?.message ?? 'the vault does not work',
      ...defined({ remedy }),
    }
  }
  const { backend, atRest } = vault.describe()
  if (atRest !== 'not protected') return { verdict: 'ok', finding: `${backend}, at rest: ${atRest}` }
  return {
    verdict: 'warning',
    finding: `${backend}, at rest: not protected (a key file lies beside the keys)`,
    remedy: 'use a keychain, systemd 256 or a passphrase: docs/security.md, "the vault"',
  }
}

function examineFile(credentials: Credentials): Finding {
  const { state, path, problem } = credentials.reading()
  switch (state) {
    case 'good':
      return { verdict: 'ok', finding: path }
    case 'missing':
      return { verdict: 'ok', finding: `${path} does not exist (yet)` }
    case 'empty':
    case 'invalid':
    case 'unreadable':
      return {
        verdict: 'problem',
        finding: `${path}: ${problem ?? state}; the last good reading is served`,
        remedy: `mend ${path}`,
      }
  }
}

function examinePlainKeys(states: readonly ProfileState[]): Finding {
  const names = states.filter(({ keySource }) => keySource === 'file').map(({ resolved }) => resolved.name)
  const [first] = names
  if (first === undefined)
    return { verdict: 'ok', finding: 'no API key stands in profiles.toml in plain text' }
  return {
    verdict: 'warning',
    finding: `profiles.toml holds an API key in plain text: ${names.map(shownName).join(', ')}`,
    remedy: `prefect-auth adopt --profile ${quoteWord(first)}`,
  }
}

function examineActive({ credentials, now }: ExaminationDeps): Finding {
  const { resolved, outcome, key } = credentials.state()
  if (outcome.kind === 'refused') {
    const { message, hint } = outcome.error
    return { verdict: 'problem', finding: message, ...defined({ remedy: hint }) }
  }
  const left = key?.expiresAt === undefined ? undefined : key.expiresAt - now()
  if (left !== undefined && left < 7 * DAY_MS) {
    const when =
      left <= 0 ? 'has expired' : `expires in ${formatDuration(Math.max(60_000, left - (left % 60_000)))}`
    return {
      verdict: left < DAY_MS ? 'problem' : 'warning',
      finding: `the key of profile ${shownName(resolved.name)} ${when}`,
      remedy: loginCommand(resolved.name),
    }
  }
  return { verdict: 'ok', finding: `${resolved.name}: ${resolved.because}` }
}

async function examinePrefect({ credentials, cloud }: ExaminationDeps): Promise<Finding> {
  const { outcome } = credentials.state()
  if (outcome.kind === 'refused' || outcome.served.kind !== 'cloud') {
    return { verdict: 'ok', finding: 'not asked: the active profile has no Prefect Cloud key' }
  }
  try {
    const reached = await cloud.workspaces(target(credentials, outcome.served))
    const wanted = outcome.served.workspace?.workspaceId
    if (wanted === undefined || reached.some(({ workspaceId }) => workspaceId === wanted)) {
      return { verdict: 'ok', finding: `Prefect accepts the key; it reaches ${reached.length} workspace(s)` }
    }
    return {
      verdict: 'problem',
      finding: "the key does not reach the workspace of the profile's API URL",
      remedy: 'prefect-auth workspace set',
    }
  } catch (error) {
    if (!(error instanceof BrokerError)) throw error
    return {
      verdict: 'problem',
      finding: error.message,
      ...defined({ remedy: error.hint }),
    }
  }
}

function examineClock(skewMs: number | undefined): Finding {
  if (skewMs === undefined)
    return { verdict: 'unknown', finding: 'Prefect has not been asked since the start' }
  if (Math.abs(skewMs) <= MAX_SKEW_MS) return { verdict: 'ok', finding: "agrees with Prefect's" }
  const off = formatDuration(Math.round(Math.abs(skewMs) / 60_000) * 60_000)
  return {
    verdict: 'problem',
    finding: `this machine's clock is ${off} ${skewMs > 0 ? 'ahead of' : 'behind'} Prefect's`,
    remedy: 'timedatectl set-ntp true',
  }
}

function examineProblem(problem: string | undefined, good: string): Finding {
  return problem === undefined ? { verdict: 'ok', finding: good } : { verdict: 'problem', finding: problem }
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
    async examine() {
      const views = credentials.states().flatMap(({ resolved: { name } }) => {
        const view = renewal.view(name)
        return view === undefined ? [] : [{ name, view }]
      })
      const troubled = views.find(({ view }) => view.trouble !== undefined)?.view.trouble
      if (troubled !== undefined) {
        return { verdict: 'problem', finding: troubled.message, remedy: troubled.hint }
      }
      for (const { name, view } of views) {
        if (view.plan.kind !== 'not_renewable') continue
        const finding = `the key of profile ${shownName(name)} is not renewed: ${view.plan.why}`
        return { verdict: 'warning', finding, remedy: view.plan.hint }
      }
      return { verdict: 'ok', finding: describe(views.flatMap(({ view }) => momentOf(view.plan))) }
    },
  }
}

type Plan = NonNullable<ReturnType<RenewalAdmin['view']>>['plan']

function momentOf(plan: Plan): number[] {
  return plan.kind === 'renew' ? [plan.at] : []
}

function describe(moments: readonly number[]): string {
  if (moments.length === 0) return 'no key to renew'
  const next = new Date(Math.min(...moments)).toISOString().slice(0, 10)
  return `${moments.length} key(s) will be renewed, the next on ${next}`
}
