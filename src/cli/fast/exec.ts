/** `prefect-auth exec`: runs a command with a profile's credentials, and becomes that command if it can. */

import { failed, failureOf, parseProblem } from '../../client/failure.js'
import { formatFailure, formatFault, usageError } from '../failure.js'
import { printable } from '../text.js'
import { type ChildPlan, findCommand, planChildEnv, runChild } from './child.js'
import { fetchProxyEnv, jobName } from './env.js'
import { connect, type Host, profileOfEnv } from './host.js'
import { parseExecArguments } from './options.js'

/** The command was never started: our own failure, unlike any exit code of the command. */
const NEVER_STARTED = 125
/** Far below every kernel's limit. Above it we spawn: there too much is an error, in execve it kills us. */
const EXECVE_BYTES = 100_000

/** Resolves with the exit code, unless the command replaced this process; `help` if the full program has to explain. */
export async function runExec(args: readonly string[], host: Host): Promise<number | 'help'> {
  const plan = parseExecArguments(args)
  if (plan.kind === 'help') return 'help'
  if (plan.kind !== 'exec') {
    const message = plan.kind === 'usage' ? plan.message : 'exec needs a command'
    return refuse(host, usageError(message, 'prefect-auth exec --help'))
  }
  try {
    const profile = plan.profile ?? profileOfEnv(host)
    const name = plan.isProxied ? jobName(plan.command, plan.args) : undefined
    const served = await fetchServed(host, profile, name)
    const { env, overruled } = planChildEnv(host.env, served.env)
    for (const name of overruled) {
      host.writeErr(
        `prefect-auth: ${name} from your environment is replaced by the value of profile '${served.profile}'\n`,
      )
    }
    return await start(plan.command, plan.args, env, host)
  } catch (error) {
    return refuse(host, error)
  }
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

/** The profile's credentials; with `job`, the proxy's address and a token for that job in place of the key. */
async function fetchServed(host: Host, profile: string | undefined, job?: string): Promise<Served> {
  const transport = connect(host, 'exec')
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

/** Parsed by hand: loading the schemas would take longer than the request. */
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
    detail: 'this version does not understand the response of the daemon',
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
  // Node ignores these two signals, and execve keeps ignored signals ignored; a listener resets them.
  host.onSignal('SIGPIPE', () => undefined)
  host.onSignal('SIGXFSZ', () => undefined)
  host.execve?.(plan.file, plan.argv, plan.env)
}

function sizeOf({ argv, env }: ChildPlan): number {
  const words = [...argv, ...Object.entries(env).flat()]
  return words.reduce((sum, word) => sum + Buffer.byteLength(word) + 9, 0)
}
