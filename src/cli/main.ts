/** The full command line: arguments in, exit code out. `env`, `exec` and `get` are here only for their help. */
import { Command, CommanderError } from 'commander'
import { addAgent } from './commands/agent.js'
import { addAsks } from './commands/asks.js'
import { addAudit } from './commands/audit.js'
import { addDoctor } from './commands/doctor.js'
import { addEnv, addExec, addGet } from './commands/env.js'
import { addEvents } from './commands/events.js'
import { addKeys, addRenew } from './commands/keys.js'
import { addLogin } from './commands/login.js'
import { addAdopt, addLogout } from './commands/logout.js'
import { addLogs } from './commands/logs.js'
import { addCompletion } from './commands/machine/completion.js'
import { addFile } from './commands/machine/file.js'
import { addHook } from './commands/machine/hook.js'
import { addIntegrate } from './commands/machine/integrate.js'
import { addService } from './commands/machine/service.js'
import { addSetup } from './commands/machine/setup.js'
import { addUninstall } from './commands/machine/uninstall.js'
import { addProfile } from './commands/profile.js'
import { addReport } from './commands/report.js'
import { addServiceAccount } from './commands/service-account.js'
import { addShare } from './commands/share.js'
import { addMetrics, addStatus, addVersion } from './commands/status.js'
import { addToken } from './commands/token.js'
import { addUi } from './commands/ui.js'
import { addVault } from './commands/vault.js'
import { addWorkspace } from './commands/workspace.js'
import { exitCodeOf, formatFailure, formatFault } from './failure.js'
import { KEY_ARGUMENT, looksLikeKey } from './fast/options.js'
import type { Start, Terminal } from './session.js'
import { runSession } from './session.js'
import { meantBy } from './words.js'

/** Runs one command line. Never rejects. */
export async function runCli(argv: readonly string[], terminal: Terminal): Promise<number> {
  if (argv.some(looksLikeKey)) {
    terminal.writeErr(formatFailure(KEY_ARGUMENT))
    return exitCodeOf(KEY_ARGUMENT)
  }
  let code = 0
  const program = createProgram(async (name, options, work) => {
    code = await runSession(terminal, name, options, work)
  }, terminal)
  try {
    await program.parseAsync(asCommander(argv), { from: 'user' })
    return code
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2
    terminal.writeErr(formatFault(error))
    return 1
  }
}

/** No command means `status`; `help token create` is `token create --help`. An unknown word is left for commander to reject. */
function asCommander(argv: readonly string[]): string[] {
  const [first, ...rest] = argv
  if (first === 'help' && rest.length > 0) return [...rest, '--help']
  const isBare = first === undefined || (first.startsWith('-') && !ABOUT_ALL.includes(first))
  return isBare ? ['status', ...argv] : [...argv]
}

const ABOUT_ALL: readonly string[] = ['-h', '--help', '-V', '--version']

const EXIT_CODES = `
Exit codes: 0 success, 1 failure, 2 wrong usage, 3 login required, 4 daemon not running,
            5 Prefect unreachable, 130 interrupted. exec: the exit code of the command.`

/** What the program itself needs of its terminal. */
type Surroundings = Pick<
  Terminal,
  'env' | 'home' | 'platform' | 'stdout' | 'uid' | 'version' | 'writeErr' | 'writeOut'
>

export function createProgram(start: Start, terminal: Surroundings): Command {
  const program = new Command('prefect-auth')
    .description('Prefect Cloud credentials for each local process. Without a command: status.')
    .version(terminal.version, '-V, --version', 'print the version of this command')
    .helpOption('-h, --help', 'show help')
    .helpCommand('help [command]', 'show help for a command')
    .showSuggestionAfterError()
    .addHelpText('after', EXIT_CODES)
    .exitOverride()
    .configureOutput({
      writeOut: (text) => terminal.writeOut(text),
      writeErr: (text) => terminal.writeErr(text),
      getOutHelpWidth: () => terminal.stdout.columns ?? 100,
    })
  program.commandsGroup('Start:')
  addSetup(program, start)
  program.commandsGroup('Log in:')
  for (const add of [addLogin, addLogout, addAdopt]) add(program, start)
  program.commandsGroup('Use:')
  addEnv(program)
  addExec(program)
  addAgent(program)
  addGet(program)
  program.commandsGroup('Inspect:')
  for (const add of [addStatus, addDoctor, addLogs, addEvents, addAudit, addMetrics, addReport])
    add(program, start)
  program.commandsGroup('Manage:')
  for (const add of [
    addWorkspace,
    addProfile,
    addKeys,
    addServiceAccount,
    addShare,
    addRenew,
    addToken,
    addAsks,
    addFile,
    addUi,
    addVault,
  ])
    add(program, start)
  program.commandsGroup('Other:')
  addService(program, start)
  addIntegrate(program, start)
  addUninstall(program, start)
  addCompletion(program)
  addHook(program, terminal)
  addVersion(program, start)
  pointHelp(program, 'prefect-auth')
  return program
}

/** A wrong command line names the help of the command that it belongs to, or what the word may mean. */
function pointHelp(command: Command, path: string): void {
  command.configureOutput({
    ...command.configureOutput(),
    outputError: (text, write) => {
      const [, word = ''] = /unknown command '([a-z-]+)'/.exec(text) ?? []
      const meant = meantBy(path, word)
      const said = text.replace(/^error: /, 'prefect-auth: ')
      // What is only spelled alike would contradict it.
      if (meant !== undefined)
        write(`${said.replace(/^\(Did you mean .*\n/m, '')}try: prefect-auth ${meant}\n`)
      else write(`${said}try: ${path} --help\n`)
    },
  })
  for (const one of command.commands) pointHelp(one, `${path} ${one.name()}`)
}
