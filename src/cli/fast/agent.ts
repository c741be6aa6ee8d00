/** `prefect-auth agent run`: runs a command with a token of its own, kept away from the owner's socket, and ends both together. */

import { parseProblem } from '../../client/failure.js'
import type { Transport } from '../../client/transport.js'
import { JOB_MARK } from '../../wire/env-names.js'
import { usageError } from '../failure.js'
import { counted, printable } from '../text.js'
import { findOrSay, prepareChild, refuse } from './exec.js'
import { connect, type Host, lookAround } from './host.js'
import type { Limits } from './limits.js'
import { parseAgentArguments } from './options.js'
import { runChild } from './run-child.js'
import { NO_SCOPE, openScope } from './scope.js'

/** Resolves with the exit code of the command; `help` if the full program has to explain. */
export async function runAgent(args: readonly string[], host: Host): Promise<number | 'help'> {
  const plan = parseAgentArguments(args)
  if (plan.kind === 'help') return 'help'
  if (plan.kind !== 'exec') {
    const message = plan.kind === 'usage' ? plan.message : 'agent run needs a command'
    return refuse(host, usageError(message, 'prefect-auth agent run --help'))
  }
  const say = (text: string) => host.writeErr(`prefect-auth: ${printable(text)}\n`)
  try {
    const around = lookAround(host)
    // Before there is a token that nobody would use.
    const found = findOrSay(plan.command, host.env.PATH, host)
    if (typeof found === 'number') return found
    const transport = connect(host, 'agent', around)
    const { env, isWatched } = await prepareChild(host, { plan, around, transport })
    const id = env[JOB_MARK] ?? ''
    try {
      const scope = await openScope(id, host)
      say(`token ${id}: ${describeLimits(plan.limits)}`)
      if (!isWatched) say(UNWATCHED)
      if (scope === undefined) say(NO_SCOPE)
      const argv = [plan.command, ...plan.args]
      const child = { file: found.file, argv, env }
      try {
        return await runChild(scope?.wrap(child) ?? child, host)
      } finally {
        // What is left would no longer be refused once the token is gone.
        if ((await scope?.stop()) === true) say('ended what the command left running')
      }
    } finally {
      await revoke(id, transport, say)
    }
  } catch (error) {
    return refuse(host, error)
  }
}

const UNWATCHED =
  "the daemon cannot see which programs connect here, so the owner's socket does not refuse this command (docs/agents.md)"

/** `may read; what changes something waits for your yes (prefect-auth asks); at most 30 writes an hour, 120 requests a minute` */
function describeLimits({
  may = 'all',
  ask,
  writes_per_hour: writes = 0,
  requests_per_minute: requests = 0,
}: Limits): string {
  const asked =
    ask === undefined
      ? ''
      : `; ${ask === 'write' ? 'what changes something' : 'everything'} waits for your yes (prefect-auth asks)`
  return `may ${may}${asked}; at most ${counted(writes, 'write')} an hour, ${counted(requests, 'request')} a minute`
}

async function revoke(id: string, transport: Transport, say: (text: string) => void): Promise<void> {
  const why = await transport.send({ method: 'DELETE', path: `/v1/tokens/${id}` }).then(
    // Somebody may have revoked it already.
    ({ status, text }) => (status === 200 || status === 404 ? undefined : parseProblem(status, text).detail),
    (error: unknown) => (error instanceof Error ? error.message : 'the daemon does not answer'),
  )
  if (why !== undefined) say(`token ${id} was not revoked: ${why}; run: prefect-auth token revoke ${id}`)
}
