/** `prefect-auth service`: start at login, and on the first request, by the system's own manager. */
import type { Command } from 'commander'
import type { Session } from '../context.js'
import { openServiceManager } from '../service/service.js'
import { type CommonOptions, type Start, withJson } from '../start.js'
import { describeInstallation, describePlan, describeRemoval, describeState } from './describe-service.js'

interface PrintOptions extends CommonOptions {
  readonly print?: boolean
}

export function addService(program: Command, start: Start): void {
  const service = program.command('service').description('start at login: systemd user units, launchd agent')
  withJson(service.command('install'))
    .description('set it up, or bring it up to date; starts the daemon and waits until it answers')
    .option('--print', 'show what would be written, and write nothing')
    .action((options: PrintOptions) =>
      start('service install', options, (session) => install(session, options.print === true)),
    )
  withJson(service.command('uninstall'))
    .description('take it away; keys, settings and state stay')
    .action((options: CommonOptions) =>
      start('service uninstall', options, async (session) => {
        const removed = await openServiceManager(session).uninstall()
        session.answer({ removed }, () => describeRemoval(removed))
      }),
    )
  withJson(service.command('status'))
    .description('one line; exit code 0 where requests are answered, 4 where not')
    .action((options: CommonOptions) => start('service status', options, showState))
}

async function install(session: Session, isPrintOnly: boolean): Promise<void> {
  const manager = openServiceManager(session)
  if (isPrintOnly) {
    const files = await manager.plan()
    return session.answer({ files }, () => describePlan(files))
  }
  const installation = await manager.install()
  session.answer(installation, () => describeInstallation(installation, session.colors))
}

async function showState(session: Session): Promise<number> {
  const state = await openServiceManager(session).look()
  session.answer(state, () => describeState(state))
  return state.state === 'running' || state.state === 'waiting' ? 0 : 4
}
