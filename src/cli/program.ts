/** The table of commands, as help and completion see it. */
import { Command } from 'commander'
import { addAudit } from './commands/audit.js'
import { addCompletion } from './commands/completion.js'
import { addDoctor } from './commands/doctor.js'
import { addEnv, addExec } from './commands/env.js'
import { addEvents } from './commands/events.js'
import { addKeys } from './commands/keys.js'
import { addLogin } from './commands/login.js'
import { addAdopt, addLogout } from './commands/logout.js'
import { addLogs } from './commands/logs.js'
import { addMetrics } from './commands/metrics.js'
import { addProfile } from './commands/profile.js'
import { addRenew } from './commands/renew.js'
import { addService } from './commands/service.js'
import { addStatus } from './commands/status.js'
import { addToken } from './commands/token.js'
import { addVault } from './commands/vault.js'
import { addVersion } from './commands/version.js'
import { addWorkspace } from './commands/workspace.js'
import type { Terminal } from './context.js'
import type { Start } from './start.js'

const EXIT_CODES = `
Exit codes: 0 done, 1 failed, 2 wrong usage, 3 login required, 4 daemon not running,
            5 Prefect unreachable, 130 Ctrl-C. exec: the command's own.`

export function createProgram(start: Start, terminal: Terminal): Command {
  const program = new Command('prefect-auth')
    .description('Credentials of Prefect Cloud for every local process. Without a command: status.')
    .version(terminal.version, '-V, --version', 'print the version of this command')
    .helpOption('-h, --help', 'explain')
    .helpCommand('help [command]', 'explain a command')
    .showSuggestionAfterError()
    .addHelpText('after', EXIT_CODES)
    .exitOverride()
    .configureOutput({
      writeOut: (text) => terminal.writeOut(text),
      writeErr: (text) => terminal.writeErr(text),
      getOutHelpWidth: () => terminal.stdout.columns ?? 100,
      outputError: (text, write) =>
        write(`${text.replace(/^error: /, 'prefect-auth: ')}try: prefect-auth --help\n`),
    })
  program.commandsGroup('Log in:')
  for (const add of [addLogin, addLogout, addAdopt]) add(program, start)
  program.commandsGroup('Use:')
  addEnv(program)
  addExec(program)
  program.commandsGroup('Look:')
  for (const add of [addStatus, addDoctor, addLogs, addEvents, addAudit, addMetrics]) add(program, start)
  program.commandsGroup('Manage:')
  for (const add of [addWorkspace, addProfile, addKeys, addRenew, addToken, addVault]) add(program, start)
  program.commandsGroup('Other:')
  addService(program, start)
  addCompletion(program)
  addVersion(program, start)
  return program
}
