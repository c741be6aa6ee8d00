/** `prefect-auth version`: of this command, and of the daemon. */

import type { Command } from 'commander'
import { failureOf } from '../../client/failure.js'
import { defined } from '../../std/defined.js'
import type { Session } from '../session.js'
import { type CommonOptions, type Start, withJson } from '../session.js'
import { printable } from '../text.js'

export function addVersion(program: Command, start: Start): void {
  withJson(program.command('version'))
    .description('the versions of this command and of the daemon')
    .action((options: CommonOptions) => start('version', options, showVersion))
}

/** A daemon that does not run is no failure of this command. */
async function showVersion(session: Session): Promise<void> {
  const ours = session.terminal.version
  const daemon = await daemonVersion(session)
  const wire = { version: ours, ...defined({ daemon }) }
  session.answer(wire, () => `prefect-auth ${ours}\nprefect-authd ${printable(daemon ?? 'is not running')}`)
  if (daemon !== undefined && daemon !== ours) session.say('note: the versions differ; restart prefect-authd')
}

async function daemonVersion({ client }: Session): Promise<string | undefined> {
  try {
    return (await client.status()).daemon.version
  } catch (error) {
    const kind = failureOf(error)?.kind
    if (kind === 'not_running') return undefined
    if (kind === 'no_answer') return 'is running, but its answer can not be read'
    throw error
  }
}
