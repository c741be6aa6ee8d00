/** `prefect-auth get key|url|json`: the helper that other tools call for one value (docs/api.md, "A helper for other tools"). */

import { failed, failureOf, parseProblem } from '../../client/failure.js'
import { exitCodeOf, formatFailure, formatFault, loginHint, usageError } from '../failure.js'
import { connect, type Host, lookAround, profileOfEnv } from './host.js'
import { parseGetArguments, type Wanted } from './options.js'

/** Prints the value alone and returns the exit code, or `help` if the full program has to print its help. */
export async function runGet(args: readonly string[], host: Host): Promise<number | 'help'> {
  const plan = parseGetArguments(args)
  if (plan.kind === 'help') return 'help'
  try {
    if (plan.kind === 'usage') throw usageError(plan.message, 'prefect-auth get --help')
    const profile = plan.profile ?? profileOfEnv(host)
    const transport = connect(host, 'get', lookAround(host))
    const query = profile === undefined ? '' : `?profile=${encodeURIComponent(profile)}`
    const { status, text } = await transport.send({ method: 'GET', path: `/v1/credentials${query}` })
    if (status !== 200) throw failed(parseProblem(status, text))
    host.writeOut(`${readValue(plan.what, text)}\n`)
    return 0
  } catch (error) {
    const failure = failureOf(error)
    host.writeErr(failure === undefined ? formatFault(error) : formatFailure(failure))
    if (failure === undefined) return 1
    return failure.code === 'profile_not_found' ? 3 : exitCodeOf(failure)
  }
}

const NAMES = { key: 'PREFECT_API_KEY', url: 'PREFECT_API_URL' } as const

/** Throws `login_required` if the profile has no such value. */
function readValue(what: Wanted, text: string): string {
  const answer: unknown = JSON.parse(text)
  if (what === 'json') return JSON.stringify(answer)
  const { profile, env } = Object(answer)
  const value: unknown = env?.[NAMES[what]]
  if (typeof value === 'string' && value !== '') return value
  throw failed({
    code: 'login_required',
    kind: 'login',
    detail: `profile '${profile}' has no ${what === 'key' ? 'API key' : 'API URL'}`,
    hint: what === 'key' ? loginHint(String(profile)) : 'prefect-auth profile ls',
  })
}
