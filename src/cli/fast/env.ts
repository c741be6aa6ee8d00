/** `prefect-auth env`: prints the daemon's text; a failure prints a line that fails when it is evaluated. */

import { failed, failureOf, parseProblem } from '../../client/failure.js'
import type { Transport } from '../../client/transport.js'
import { defined } from '../../std/defined.js'
import { ENV_NAMES, FOLLOW_NAMES, GROUP_NAMES, isShadow, SHADOW_NAMES } from '../../wire/env-names.js'
import { DIALECTS, type EnvFormat } from '../../wire/kinds.js'
import { exitCodeOf, formatFailure, formatFault, isWithoutPair, usageError } from '../failure.js'
import { printable } from '../text.js'
import { settingsOfEnv } from './around.js'
import { type Around, connect, type Host, leftBehind, lookAround, profileOfEnv } from './host.js'
import type { Limits } from './limits.js'
import { type FastPlan, parseEnvArguments } from './options.js'
import { authorizationsIn, isFromProxy, pagesIn } from './standing.js'

/** Prints and returns the exit code, or `help` if the full program has to print its help. */
export async function runEnv(args: readonly string[], host: Host): Promise<number | 'help'> {
  const plan = parseEnvArguments(args)
  if (plan.kind === 'help') return 'help'
  // A usage error must fail under `eval` too, which reads stdout.
  if (plan.kind === 'usage') return refuse(host, 'sh', usageError(plan.message, 'prefect-auth env --help'))
  if (plan.kind === 'exec') return 'help'
  if (plan.isFollowing) return follow(host, plan)
  try {
    const text = await fetchEnv(host, plan)
    const removed = namesToRemove(host.env, text).map((name) => removingLine(plan.format, name))
    host.writeOut(`${text}${removed.join('')}`)
    return 0
  } catch (error) {
    return refuse(host, plan.format, error)
  }
}

/**
 * What the hook of a shell evaluates after a change. A pair that the user set stays. Returns a code other than 0, silently, if
 * the hook should ask again later.
 */
async function follow(host: Host, plan: EnvPlan): Promise<number> {
  const { env } = host
  const say = (text: string) => host.writeErr(`prefect-auth: ${printable(text)}\n`)
  // It hashes; what hashes takes longer to load than everything else here.
  const { pairMark } = await import('../../wire/pair-mark.js')
  const mark = pairMark(env)
  if (mark !== '' && mark !== env.PREFECT_AUTH_SET) {
    say(
      'the PREFECT_API_… variables of this shell were set by hand and stay; unset them to follow the profile',
    )
    return 0
  }
  try {
    host.writeOut(await fetchEnv(host, plan))
    const pinned = profileOfEnv(host)
    if (pinned !== undefined && pinned !== env.PREFECT_AUTH_PROFILE)
      say(`this shell stays with profile ${pinned}, whichever is active, because PREFECT_PROFILE names it`)
    return 0
  } catch (error) {
    if (exitCodeInEnv(error) !== LOGIN_REQUIRED) return exitCodeInEnv(error)
    // What it had is no longer valid. A shell that never had a pair is not told at each start.
    if (mark === '') return 0
    host.writeOut([...ENV_NAMES, ...FOLLOW_NAMES].map((name) => removingLine(plan.format, name)).join(''))
    const failure = failureOf(error)
    if (failure !== undefined) host.writeErr(formatFailure(failure))
    return 0
  }
}

type EnvPlan = Extract<FastPlan, { kind: 'env' }>

async function fetchEnv(
  host: Host,
  { profile: named, format, isProxied, mayBeNone, isFollowing, limits }: EnvPlan,
): Promise<string> {
  const around = lookAround(host)
  const transport = connect(host, 'env', around)
  const profile = named ?? profileOfEnv(host)
  for (const { place, settings } of around.files) {
    for (const name of GROUP_NAMES.filter((group) => settings.has(group)))
      host.writeErr(
        `prefect-auth: ${name} in ${place} of this directory wins over what env prints; use prefect-auth exec here\n`,
      )
  }
  // The token lives as long as the shell that evaluates it, not as long as this process.
  const job = { profile, format, name: 'env', pid: host.parentPid, around, limits } as const
  if (isProxied) {
    try {
      return await fetchProxyEnv(transport, host, job)
    } catch (error) {
      if (!mayBeNone || !isWithoutPair(error)) throw error
    }
  }
  const query = [
    ...(profile === undefined ? [] : [`profile=${encodeURIComponent(profile)}`]),
    `format=${format}`,
    ...(mayBeNone ? ['allow_none=true'] : []),
    ...(isFollowing ? ['follow=true'] : []),
  ]
  const answer = await transport.send({ method: 'GET', path: `/v1/env?${query.join('&')}` })
  if (answer.status === 200) return known(format, answer.text)
  throw failed(parseProblem(answer.status, answer.text))
}

/** What only this process knows of its caller's shell: what the proxy left there, and what Prefect might prefer to our variables. */
function namesToRemove(env: Host['env'], text: string): readonly string[] {
  return [
    ...leftBehind(env).filter((name) => !text.includes(name)),
    // The daemon removes those in small letters.
    ...Object.keys(env).filter(
      (name) => isShadow(name) && !SHADOW_NAMES.includes(name) && /^\w+$/.test(name),
    ),
  ]
}

const NAME = '(?:PREFECT_\\w+|prefect_\\w+|NO_PROXY|no_proxy)'
/** The statements that the daemon of this version renders for `sh`, and its notes, which are comments. */
const KNOWN_IN_SH = new RegExp(
  `^(?:(?:export ${NAME}='(?:[^']|'\\\\'')*'|unset ${NAME});\\n)*(?:# [^\\n]*\\n)*$`,
)

/** Returns `text`. Throws `not_understood` if a shell would run more of it than setting and removing Prefect's variables. */
function known(format: EnvFormat, text: string): string {
  if (format !== 'sh' || KNOWN_IN_SH.test(text)) return text
  throw failed({
    code: 'not_understood',
    kind: 'no_answer',
    detail: "this version does not know the shape of the daemon's response; nothing of it is printed",
    hint: 'prefect-auth version      (restart the daemon if the two versions differ)',
  })
}

function refuse(host: Host, format: EnvFormat, error: unknown): number {
  const failure = failureOf(error)
  const code = failure?.code ?? 'internal'
  host.writeOut(failingLine(format, /^[a-z_]+$/.test(code) ? code : 'failed'))
  host.writeErr(failure === undefined ? formatFault(error) : formatFailure(failure))
  return exitCodeInEnv(error)
}

function exitCodeInEnv(error: unknown): number {
  const failure = failureOf(error)
  if (failure === undefined) return 1
  // For a script they mean the same: there is no pair to be had.
  return isWithoutPair(error) || failure.code === 'profile_not_found' ? LOGIN_REQUIRED : exitCodeOf(failure)
}

const LOGIN_REQUIRED = 3

/** The daemon cannot know which variables this shell was given earlier. */
function removingLine(format: EnvFormat, name: string): string {
  const line = format === 'json' ? undefined : DIALECTS[format].unset(name)
  return line === undefined ? '' : `${line}\n`
}

function failingLine(format: EnvFormat, code: string): string {
  return format === 'json' ? '' : `${DIALECTS[format].fail(code)}\n`
}

export interface ProxyJob {
  readonly profile: string | undefined
  readonly format: EnvFormat
  readonly name: string
  /** As long as this process lives, so does the token. */
  readonly pid: number
  readonly around: Around
  readonly limits: Limits
  readonly isAgent?: true
}

/** The daemon's text. Makes a token. */
export async function fetchProxyEnv(
  transport: Transport,
  { env, writeErr }: Pick<Host, 'env' | 'writeErr'>,
  { profile, format, name, pid, around, limits, isAgent }: ProxyJob,
): Promise<string> {
  const own = settingsOfEnv(env)
  const inFiles = [...new Set(around.files.flatMap(authorizationsIn))]
  const headers =
    authorizationsIn(own).length > 0 ? own.settings.get('PREFECT_CLIENT_CUSTOM_HEADERS') : undefined
  const body = {
    mode: 'proxy',
    format,
    name,
    pid,
    ...limits,
    ...defined({
      profile,
      agent: isAgent,
      no_proxy: env.NO_PROXY ?? env.no_proxy,
      // Programs differ in which one they prefer: each keeps its own.
      no_proxy_small: env.NO_PROXY === env.no_proxy ? undefined : env.no_proxy,
      ui_url: pagesIn(env, around.files)?.url,
      custom_headers: headers,
      secrets: secretsOf(env),
      headers_in_files: inFiles.length > 0 ? inFiles : undefined,
    }),
  }
  const answer = await transport.send({ method: 'POST', path: '/v1/env', body })
  if (answer.notice !== undefined) writeErr(`prefect-auth: ${printable(answer.notice)}\n`)
  if (answer.status === 200) return known(format, answer.text)
  // Never asked twice: a second request might succeed, and make a token that nobody gets.
  throw failed(parseProblem(answer.status, answer.text))
}

/** What may be ours, left by `env`; tokens of the proxy are known without asking. */
function secretsOf(env: Host['env']): Readonly<Record<string, string>> | undefined {
  const names = ['PREFECT_API_KEY', 'PREFECT_API_AUTH_STRING']
  const held = names.flatMap((name) => {
    const value = env[name]
    return value !== undefined && !isFromProxy(value) ? [[name, value] as const] : []
  })
  return held.length === 0 ? undefined : Object.fromEntries(held)
}

/** `prefect worker start`: the program and at most three words after it, none of which can be a secret. */
export function jobName(command: string, args: readonly string[]): string {
  const program = command.slice(command.lastIndexOf('/') + 1)
  const end = args.findIndex((word) => !/^[a-z][a-z0-9-]{0,20}$/.test(word))
  const words = [program, ...args.slice(0, Math.min(end < 0 ? args.length : end, 3))]
  return (
    words
      .join(' ')
      .replace(/[^\x20-\x7e]/g, '?')
      .slice(0, 100) || 'job'
  )
}
