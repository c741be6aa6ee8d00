/** `prefect-auth exec`: runs a command with a profile's credentials, and becomes that command if it can. */

import { type Failure, failed, failureOf, parseProblem } from '../../client/failure.js'
import type { Transport } from '../../client/transport.js'
import { defined } from '../../std/defined.js'
import { wholeEnv } from '../../wire/env-names.js'
import { formatFailure, formatFault, isWithoutPair, loginHint, usageError } from '../failure.js'
import { printable } from '../text.js'
import { settingsOfEnv } from './around.js'
import { type ChildPlan, type FoundCommand, findCommand, planChildEnv } from './child.js'
import { fetchProxyEnv, jobName } from './env.js'
import { type Around, connect, type Host, lookAround, profileOfEnv } from './host.js'
import { describeMismatch } from './limits.js'
import { type FastPlan, parseExecArguments } from './options.js'
import { describeFiles, describePages, describeSettings, isFromProxy, withGroups } from './standing.js'
import { noticeWorker } from './worker.js'

/** The command was never started: our own failure, unlike any exit code of the command. */
const NEVER_STARTED = 125
/** Far below every kernel's limit. Above it we spawn: there too much is an error, in execve it kills us. */
const EXECVE_BYTES = 100_000

const EMPTY_CHOICE =
  "PREFECT_PROFILE is empty, so the command gets the active profile, as in Prefect 3; Prefect 2 would use 'default'"

/** Resolves with the exit code, unless the command replaced this process; `help` if the full program has to explain. */
export async function runExec(args: readonly string[], host: Host): Promise<number | 'help'> {
  const plan = parseExecArguments(args)
  if (plan.kind === 'help') return 'help'
  if (plan.kind !== 'exec') {
    const message = plan.kind === 'usage' ? plan.message : 'exec needs a command'
    return refuse(host, usageError(message, 'prefect-auth exec --help'))
  }
  try {
    const around = lookAround(host)
    const { env } = await prepareChild(host, { plan, around, transport: connect(host, 'exec', around) })
    const found = findOrSay(plan.command, env.PATH, host)
    return typeof found === 'number' ? found : await start(found, plan, env, host)
  } catch (error) {
    return refuse(host, error)
  }
}

/** The environment of the command, and whether the daemon watches it; says on stderr what its caller should know of it. */
export async function prepareChild(
  host: Host,
  job: Job,
): Promise<{ readonly env: ChildPlan['env']; readonly isWatched: boolean }> {
  const { plan, around } = job
  const served = await fetchServed(host, job)
  const isOurs = recogniseOurs(host.env, served)
  const whole = withGroups(around.files, served.env)
  const { env, overruled } = planChildEnv(host.env, whole, isOurs)
  const said = [
    ...overruled.map(
      (name) => `${name} from your environment is replaced by the value of profile '${served.profile}'`,
    ),
    ...describeFiles(around.files, whole, served.profile),
    ...(plan.profile === undefined && host.env.PREFECT_PROFILE === '' ? [EMPTY_CHOICE] : []),
    ...describeSettings([settingsOfEnv(host.env), ...around.files], plan.isProxied),
    ...(plan.isProxied ? describePages(host.env, around.files, served.env) : []),
    ...served.notes,
  ]
  const words = [plan.command, ...plan.args]
  const elsewhere = plan.isProxied ? await noticeWorker(words, served.env) : undefined
  said.push(...[describeMismatch(words, plan.limits), elsewhere].filter((line) => line !== undefined))
  for (const line of new Set(said)) host.writeErr(`prefect-auth: ${printable(line)}\n`)
  return { env, isWatched: served.isWatched }
}

/** The file of a command; the exit code if there is none, which has been said. */
export function findOrSay(
  command: string,
  path: string | undefined,
  host: Pick<Host, 'writeErr'>,
): Extract<FoundCommand, { kind: 'found' }> | number {
  const found = findCommand(command, path)
  if (found.kind === 'found') return found
  const isMissing = found.kind === 'missing'
  const reason = isMissing ? 'command not found' : 'permission denied'
  host.writeErr(`prefect-auth: ${printable(command)}: ${reason}\n`)
  return isMissing ? 127 : 126
}

export function refuse(host: Host, error: unknown): number {
  const failure = failureOf(error)
  host.writeErr(failure === undefined ? formatFault(error) : formatFailure(failure))
  return NEVER_STARTED
}

export type ExecPlan = Extract<FastPlan, { kind: 'exec' }>

interface Job {
  readonly plan: ExecPlan
  readonly around: Around
  readonly transport: Transport
}

interface Served {
  readonly profile: string
  readonly env: Readonly<Record<string, string>>
  /** What its clients obey beside the pair, or in place of it. */
  readonly notes: readonly string[]
  /** Through the proxy: the addresses that `env` would set without it. */
  readonly replaces: Readonly<Record<string, string>>
  /** Names of the caller's secrets that are those of the profile. */
  readonly ours: readonly string[]
  /** Of an agent: the owner's socket knows it. */
  readonly isWatched: boolean
}

/** The profile's credentials, whole; through the proxy its address and a token for this job in place of the key. */
async function fetchServed(host: Host, job: Job): Promise<Served> {
  const { plan } = job
  try {
    return await (plan.isProxied ? fetchProxied(host, job) : fetchDirect(host, job))
  } catch (error) {
    if (plan.mayBeNone && isWithoutPair(error)) return fetchNone(host, job)
    throw error
  }
}

/** This process becomes the job, or lives as long as it does. */
async function fetchProxied(host: Host, { plan, around, transport }: Job): Promise<Served> {
  const profile = plan.profile ?? profileOfEnv(host)
  const name = jobName(plan.command, plan.args)
  const { limits, isAgent } = plan
  const job = {
    profile,
    format: 'json',
    name,
    pid: host.pid,
    around,
    limits,
    ...defined({ isAgent }),
  } as const
  const text = await fetchProxyEnv(transport, host, job)
  const { answer, ...served } = parseServed(text)
  const isWatched = answer.is_watched === true
  return { ...served, env: wholeEnv(served.env), isWatched, ...replacedOf(answer.replaces) }
}

async function fetchDirect(host: Host, { plan, transport }: Job): Promise<Served> {
  const profile = plan.profile ?? profileOfEnv(host)
  const query = profile === undefined ? '' : `?profile=${encodeURIComponent(profile)}`
  const answer = await transport.send({ method: 'GET', path: `/v1/credentials${query}` })
  if (answer.status !== 200) throw failed(parseProblem(answer.status, answer.text))
  const served = parseServed(answer.text)
  const { kind, because, in_file: isInFile } = served.answer
  if (kind === 'none') throw failed(withoutApi(served.profile, because))
  const chosen = profile !== undefined && isInFile === true ? profile : undefined
  const env = { ...wholeEnv(served.env), ...defined({ PREFECT_PROFILE: chosen }) }
  return { ...served, env, replaces: {}, ours: [], isWatched: false }
}

/** On purpose without a pair: nothing of the caller's leads anywhere either. */
async function fetchNone(host: Host, { plan, transport }: Job): Promise<Served> {
  const profile = plan.profile ?? profileOfEnv(host)
  const query = profile === undefined ? '' : `&profile=${encodeURIComponent(profile)}`
  const answer = await transport.send({ method: 'GET', path: `/v1/env?format=json&allow_none=true${query}` })
  if (answer.status !== 200) throw failed(parseProblem(answer.status, answer.text))
  const env = stringsOf(JSON.parse(answer.text))
  return { profile: printable(profile ?? 'none'), env, notes: [], replaces: {}, ours: [], isWatched: false }
}

function withoutApi(profile: string, because: unknown): Failure {
  const why = typeof because === 'string' ? ` (${because})` : ''
  return {
    code: 'login_required',
    kind: 'login',
    detail: `profile '${profile}' has no API URL${why}`,
    hint: loginHint(profile),
  }
}

/** Tells the values that our own `env` left in the caller's shell, with the proxy or without. */
function recogniseOurs(
  env: Host['env'],
  { replaces, ours }: Served,
): (name: string, value: string) => boolean {
  const isAfterProxy = isFromProxy(env.PREFECT_API_KEY ?? '')
  return (name, value) => {
    if (isFromProxy(value) || replaces[name] === value || ours.includes(name)) return true
    return (
      isAfterProxy && (value === '' || name === 'PREFECT_CLOUD_UI_URL' || name === 'PREFECT_CLOUD_API_URL')
    )
  }
}

/** Parsed by hand: loading the schemas would take longer than the request. */
function parseServed(
  text: string,
): Omit<Served, 'replaces' | 'ours' | 'isWatched'> & { readonly answer: Readonly<Record<string, unknown>> } {
  const answer: unknown = JSON.parse(text)
  if (typeof answer === 'object' && answer !== null && 'profile' in answer && 'env' in answer) {
    const { profile, env } = answer
    if (typeof profile === 'string' && typeof env === 'object' && env !== null) {
      const notes = 'notes' in answer && Array.isArray(answer.notes) ? answer.notes.map(String) : []
      return { profile: printable(profile), env: stringsOf(env), notes, answer: { ...answer } }
    }
  }
  throw failed({
    code: 'not_understood',
    kind: 'no_answer',
    detail: 'this version does not understand the response of the daemon',
    hint: 'prefect-auth version',
  })
}

function replacedOf(value: unknown): Pick<Served, 'replaces' | 'ours'> {
  const ours: unknown = typeof value === 'object' && value !== null && 'ours' in value ? value.ours : []
  return { replaces: stringsOf(value), ours: Array.isArray(ours) ? ours.map(String) : [] }
}

function stringsOf(value: unknown): Readonly<Record<string, string>> {
  if (typeof value !== 'object' || value === null) return {}
  const entries = Object.entries(value).filter(
    (entry): entry is [string, string] => typeof entry[1] === 'string',
  )
  return Object.fromEntries(entries)
}

async function start(
  found: Extract<FoundCommand, { kind: 'found' }>,
  { command, args }: ExecPlan,
  env: ChildPlan['env'],
  host: Host,
): Promise<number> {
  const plan: ChildPlan = { file: found.file, argv: [command, ...args], env }
  if (host.execve !== undefined && found.isForKernel && sizeOf(plan) < EXECVE_BYTES) replaceUs(plan, host)
  // What starts programs takes long to load, and is not needed where we can become the command.
  const { runChild } = await import('./run-child.js')
  return runChild(plan, host)
}

function replaceUs(plan: ChildPlan, host: Host): void {
  // Node ignores these two signals, and execve keeps ignored signals ignored; a listener resets them.
  host.onSignal('SIGPIPE', () => undefined)
  host.onSignal('SIGXFSZ', () => undefined)
  host.execve?.(plan.file, plan.argv, plan.env)
}

function sizeOf({ argv, env }: ChildPlan): number {
  const words = [...argv, ...Object.entries(env).flat()]
  return words.reduce((sum, word) => sum + Buffer.byteLength(word) + 9, 0)
}
