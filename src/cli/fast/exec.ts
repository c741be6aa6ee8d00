/** `prefect-auth exec`: runs a command with a profile's credentials in its environment, and is gone where it can. */

import { type Failure, failed, failureOf, parseProblem } from '../../client/failure.js'
import { createTransport } from '../../client/transport.js'
import { socketCandidates } from '../../config/paths.js'
import { defined } from '../../std/defined.js'
import { formatFailure, formatFault } from '../failure.js'
import { printable } from '../text.js'
import { type ChildPlan, findCommand, planChildEnv, runChild } from './child.js'
import { fetchProxyEnv, jobName } from './env.js'
import type { Host } from './host.js'
import { parseExecArguments } from './options.js'

/** The command was never started: our own failure, told apart from any of the command's. */
const NEVER_STARTED = 125
/** Far below what any kernel takes; beyond it the child is spawned, where too much is an error and not our death. */
const EXECVE_BYTES = 100_000

/** Resolves with the exit code, unless the command took this process's place; `help` for the full program. */
export async function runExec(args: readonly string[], host: Host): Promise<number | 'help'> {
  const plan = parseExecArguments(args)
  if (plan.kind === 'help') return 'help'
  if (plan.kind !== 'exec') {
    return refuse(host, failed(usage(plan.kind === 'usage' ? plan.message : 'exec needs a command')))
  }
  try {
    const profile = plan.profile ?? (host.env.PREFECT_PROFILE || undefined)
    const name = plan.isProxied ? jobName(plan.command, plan.args) : undefined
    const served = await fetchServed(host, profile, name)
    const { env, overruled } = planChildEnv(host.env, served.env)
    for (const name of overruled) {
      host.writeErr(
        `prefect-auth: ${name} of the calling environment gives way to profile '${served.profile}'\n`,
      )
    }
    return await start(plan.command, plan.args, env, host)
  } catch (error) {
    return refuse(host, error)
  }
}

function usage(detail: string): Failure {
  return { code: 'usage', kind: 'usage', detail, hint: 'prefect-auth exec --help' }
}

function refuse(host: Host, error: unknown): number {
  const failure = failureOf(error)
  host.writeErr(failure === undefined ? formatFault(error) : formatFailure(failure))
  return NEVER_STARTED
}

interface Served {
  readonly profile: string
  readonly env: Readonly<Record<string, string>>
}

/** With the name of a job: its way through the proxy, in place of the key itself. */
async function fetchServed(host: Host, profile: string | undefined, job?: string): Promise<Served> {
  const transport = createTransport({
    candidates: socketCandidates(host),
    userAgent: `prefect-auth/${host.version} exec`,
    ...defined({ uid: host.uid }),
  })
  if (job !== undefined) {
    // This process becomes the job, or lives as long as it does.
    const wanted = { profile, format: 'json', name: job, pid: host.pid } as const
    return parseServed(await fetchProxyEnv(transport, host, wanted))
  }
  const query = profile === undefined ? '' : `?profile=${encodeURIComponent(profile)}`
  const answer = await transport.send({ method: 'GET', path: `/v1/credentials${query}` })
  if (answer.status !== 200) throw failed(parseProblem(answer.status, answer.text))
  return parseServed(answer.text)
}

/** By hand: the schemas would cost more time than the request. */
function parseServed(text: string): Served {
  const answer: unknown = JSON.parse(text)
  if (typeof answer === 'object' && answer !== null && 'profile' in answer && 'env' in answer) {
    const { profile, env } = answer
    if (typeof profile === 'string' && typeof env === 'object' && env !== null) {
      const entries = Object.entries(env).filter(
        (entry): entry is [string, string] => typeof entry[1] === 'string',
      )
      return { profile: printable(profile), env: Object.fromEntries(entries) }
    }
  }
  throw failed({
    code: 'not_understood',
    kind: 'no_answer',
    detail: "the daemon's answer is not what this version expects",
    hint: 'prefect-auth version',
  })
}

async function start(
  command: string,
  args: readonly string[],
  env: ChildPlan['env'],
  host: Host,
): Promise<number> {
  const found = await findCommand(command, env.PATH)
  if (found.kind !== 'found') {
    const isMissing = found.kind === 'missing'
    const reason = isMissing ? 'command not found' : 'permission denied'
    host.writeErr(`prefect-auth: ${printable(command)}: ${reason}\n`)
    return isMissing ? 127 : 126
  }
  const plan: ChildPlan = { file: found.file, argv: [command, ...args], env }
  if (host.execve !== undefined && found.isForKernel && sizeOf(plan) < EXECVE_BYTES) replaceUs(plan, host)
  return runChild(plan, host)
}

function replaceUs(plan: ChildPlan, host: Host): void {
  // Node ignores these two, and ignored signals stay ignored across execve: with a listener they are reset.
  host.onSignal('SIGPIPE', () => undefined)
  host.onSignal('SIGXFSZ', () => undefined)
  host.execve?.(plan.file, plan.argv, plan.env)
}

function sizeOf({ argv, env }: ChildPlan): number {
  const words = [...argv, ...Object.entries(env).flat()]
  return words.reduce((sum, word) => sum + Buffer.byteLength(word) + 9, 0)
}
