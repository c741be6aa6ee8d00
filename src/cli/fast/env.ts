/** `prefect-auth env`: the daemon's text as it is; a failure is a line that fails when it is evaluated. */
import { failed, failureOf, parseProblem } from '../../client/failure.js'
import { createTransport, type Transport } from '../../client/transport.js'
import { socketCandidates } from '../../config/paths.js'
import type { EnvFormat } from '../../wire/credentials.js'
import { exitCodeOf, formatFailure, formatFault } from '../failure.js'
import { leftBehind } from './child-env.js'
import type { Host } from './host.js'
import { type FastPlan, parseEnvArguments } from './options.js'
import { fetchProxyEnv } from './proxy-job.js'

/** Prints, and answers the exit code; `help` where the full program has to explain. */
export async function runEnv(args: readonly string[], host: Host): Promise<number | 'help'> {
  const plan = parseEnvArguments(args)
  if (plan.kind === 'help') return 'help'
  // A usage error must fail under `eval` too: what it reads there is stdout.
  if (plan.kind === 'usage') return refuse(host, 'sh', failed(usage(plan.message)))
  if (plan.kind === 'exec') return 'help'
  try {
    const text = await fetchEnv(host, plan)
    const stale = plan.isProxied ? [] : leftBehind(host.env)
    host.writeOut(`${text}${stale.map((name) => removingLine(plan.format, name)).join('')}`)
    return 0
  } catch (error) {
    return refuse(host, plan.format, error)
  }
}

type EnvPlan = Extract<FastPlan, { kind: 'env' }>

function usage(detail: string) {
  return { code: 'usage', kind: 'usage', detail, hint: 'prefect-auth env --help' } as const
}

async function fetchEnv(host: Host, { profile: named, format, isProxied }: EnvPlan): Promise<string> {
  const transport = createTransport({
    candidates: socketCandidates(host),
    userAgent: `prefect-auth/${host.version} env`,
    ...(host.uid === undefined ? {} : { uid: host.uid }),
  })
  const profile = named ?? (host.env.PREFECT_PROFILE || undefined)
  // It is the shell that lives as long as what it starts.
  if (isProxied) return fetchProxyEnv(transport, host, { profile, format, name: 'env', pid: host.parentPid })
  const query = profile === undefined ? '' : `profile=${encodeURIComponent(profile)}`
  const answer = await transport.send({
    method: 'GET',
    path: `/v1/env?${query}${query && '&'}format=${format}`,
  })
  if (answer.status === 200) return answer.text
  throw failed(await explain(transport, query, answer))
}

/** The text route says no more than a code; the reason and the remedy stand in the answer of the JSON route. */
async function explain(transport: Transport, query: string, refused: { status: number; text: string }) {
  const again = await transport.send({ method: 'GET', path: `/v1/credentials?${query}` })
  return again.status >= 400
    ? parseProblem(again.status, again.text)
    : parseProblem(refused.status, refused.text)
}

function refuse(host: Host, format: EnvFormat, error: unknown): number {
  const failure = failureOf(error)
  const code = failure?.code ?? 'internal'
  host.writeOut(failingLine(format, /^[a-z_]+$/.test(code) ? code : 'failed'))
  host.writeErr(failure === undefined ? formatFault(error) : formatFailure(failure))
  return failure === undefined ? 1 : exitCodeOf(failure)
}

/** The daemon can't know what this shell was given before. */
function removingLine(format: EnvFormat, name: string): string {
  switch (format) {
    case 'sh':
      return `unset ${name};\n`
    case 'fish':
      return `set -e ${name}; or true;\n`
    case 'powershell':
      return `Remove-Item Env:${name} -ErrorAction SilentlyContinue\n`
    case 'dotenv':
    case 'json':
      return ''
  }
}

function failingLine(format: EnvFormat, code: string): string {
  switch (format) {
    case 'sh':
    case 'fish':
    // No dotenv reader takes it for a value, and a shell that sources the file fails.
    case 'dotenv':
      return `echo 'prefect-auth: ${code}' >&2; false\n`
    case 'powershell':
      return `throw 'prefect-auth: ${code}'\n`
    case 'json':
      return ''
  }
}
