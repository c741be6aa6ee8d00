/** Man pages, made from the table of commands: one for each command with its subcommands, and one for the daemon. */
import type { Command } from 'commander'
import { settingsRows } from '../config/settings-table.js'

export interface ManPage {
  /** `prefect-auth-login.1` */
  readonly file: string
  readonly text: string
}

/** Of the last release; a time of the build would make every build another. */
const DATE = '2026-11-27'

/** `program`: the whole command line. */
export function renderManPages(program: Command, version: string): readonly ManPage[] {
  const page = (name: string, parts: readonly string[]): ManPage => ({
    file: `${name}.1`,
    text: `${[`.TH ${name.toUpperCase()} 1 ${DATE} "prefect-auth-broker ${version}" "User Commands"`, ...parts].join('\n')}\n`,
  })
  return [
    page('prefect-auth', mainPage(program)),
    ...program.commands.map((command) => {
      const name = `prefect-auth-${command.name()}`
      return page(name, commandPage(name, command))
    }),
    page('prefect-authd', daemonPage()),
  ]
}

function mainPage(program: Command): readonly string[] {
  return [
    ...heading('prefect-auth', program.description()),
    '.SH SYNOPSIS',
    '.B prefect\\-auth',
    '[\\fIcommand\\fR] [\\fIoptions\\fR]',
    '.SH DESCRIPTION',
    plain(program.description()),
    '.SH COMMANDS',
    ...program.commands.flatMap((command) => [
      '.TP',
      `.BR ${roff(`prefect-auth-${command.name()}`)} (1)`,
      plain(sentence(command.description())),
    ]),
    ...extra(program, 'EXIT STATUS'),
    ...ENVIRONMENT,
    ...seeAlso(['prefect-authd']),
  ]
}

function commandPage(name: string, command: Command): readonly string[] {
  const shown = command.commands.filter((one) => !isHidden(one))
  return [
    ...heading(name, command.description()),
    '.SH SYNOPSIS',
    ...(shown.length > 0
      ? shown.flatMap((one, at) => [
          ...(at === 0 ? [] : ['.br']),
          ...synopsis(`prefect-auth ${command.name()} ${one.name()}`, one),
        ])
      : synopsis(`prefect-auth ${command.name()}`, command)),
    '.SH DESCRIPTION',
    plain(sentence(command.description())),
    ...(command.options.length === 0 ? [] : ['.SH OPTIONS', ...options(command)]),
    ...shown.flatMap((one) => [
      `.SH ${roff(one.name().toUpperCase())}`,
      plain(sentence(one.description())),
      ...options(one),
      ...extra(one),
    ]),
    ...extra(command, 'NOTES'),
    ...seeAlso(['prefect-auth', 'prefect-authd']),
  ]
}

function daemonPage(): readonly string[] {
  return [
    ...heading('prefect-authd', 'the daemon that keeps, renews and serves API keys of Prefect Cloud'),
    '.SH SYNOPSIS',
    '.B prefect\\-authd',
    '[\\fIoptions\\fR]',
    '.SH DESCRIPTION',
    plain('Runs in the foreground until SIGTERM. As a service: prefect-auth service install.'),
    '.SH SETTINGS',
    plain(
      'Flags, then the environment, then config.toml, then the defaults. A setting a.b_c is --a-b-c as a flag and PREFECT_AUTH_A_B_C in the environment.',
    ),
    ...settingsRows().flatMap(({ name, default: value, meaning }) => [
      '.TP',
      `\\fB${roff(name)}\\fR (default: ${roff(value)})`,
      plain(sentence(meaning)),
    ]),
    '.SH FILES',
    '.TP',
    '\\fI~/.config/prefect\\-auth/config.toml\\fR',
    'Settings. On macOS: \\fI~/Library/Application Support/prefect\\-auth/config.toml\\fR.',
    '.TP',
    '\\fI~/.local/state/prefect\\-auth/\\fR',
    'Vault, ledger, audit log and tokens.',
    ...ENVIRONMENT,
    ...seeAlso(['prefect-auth', 'prefect-auth-service']),
  ]
}

const ENVIRONMENT = [
  '.SH ENVIRONMENT',
  ...[
    ['PREFECT_AUTH_SOCKET', 'the socket of the daemon'],
    ['PREFECT_AUTH_STATE_DIR', 'the state directory'],
    ['PREFECT_AUTH_CONFIG', 'the settings file'],
    ['PREFECT_PROFILE', "the profile, if no option names one; Prefect's own variable"],
    ['NO_COLOR', 'if set, no colours'],
  ].flatMap(([name = '', text = '']) => ['.TP', `\\fB${roff(name)}\\fR`, plain(sentence(text))]),
]

function heading(name: string, description: string): readonly string[] {
  const [first = ''] = description.split(/[.;:](?:\s|$)/)
  return ['.SH NAME', `${roff(name)} \\- ${roff(first)}`]
}

function synopsis(path: string, command: Command): readonly string[] {
  const given = command.registeredArguments.map((argument) => {
    const name = `\\fI${roff(argument.name())}\\fR${argument.variadic ? '...' : ''}`
    return argument.required ? name : `[${name}]`
  })
  // `exec` has a usage of its own.
  const own = command.name() === 'exec' ? ['[\\-\\-] \\fICMD\\fR [\\fIARGS\\fR...]'] : given
  return [`.B ${roff(path)}`, ['[\\fIoptions\\fR]', ...own].join(' ')]
}

function options(command: Command): readonly string[] {
  return command.options
    .filter(({ hidden }) => !hidden)
    .flatMap(({ short, long, flags, description, argChoices, defaultValue }) => {
      const value = /[<[].*$/.exec(flags)?.[0]
      const names = [short, long].flatMap((name) => (name ? [`\\fB${roff(name)}\\fR`] : [])).join(', ')
      const more = [
        ...(argChoices === undefined ? [] : [`One of ${argChoices.join(', ')}.`]),
        ...(typeof defaultValue === 'string' ? [`Default: ${defaultValue}.`] : []),
      ]
      const text = [sentence(description), ...more].join(' ')
      return ['.TP', `${names}${value === undefined ? '' : ` \\fI${roff(value)}\\fR`}`, plain(text)]
    })
}

/** What the help shows after the options, as it is. */
function extra(command: Command, title?: string): readonly string[] {
  const before = command.configureOutput()
  let all = ''
  command.configureOutput({
    ...before,
    writeOut: (more) => {
      all += more
    },
  })
  command.outputHelp()
  command.configureOutput(before)
  const text = all.slice(command.helpInformation().length)
  if (text.trim() === '') return []
  const lines = text
    .replace(/^Exit codes: /m, '')
    .trim()
    .split('\n')
    .map(plain)
  return [...(title === undefined ? ['.PP'] : [`.SH ${title}`]), '.nf', ...lines, '.fi']
}

function seeAlso(pages: readonly string[]): readonly string[] {
  return ['.SH SEE ALSO', pages.map((name) => `.BR ${roff(name)} (1)`).join('\n')]
}

function isHidden(command: Command): boolean {
  return Reflect.get(command, '_hidden') === true
}

function sentence(text: string): string {
  const whole = `${text.slice(0, 1).toUpperCase()}${text.slice(1)}`
  return /[.!?)]$/.test(whole) ? whole : `${whole}.`
}

/** A line of text: none is taken for a request of roff. */
function plain(line: string): string {
  return roff(line).replace(/^(?=[.'])/, '\\&')
}

function roff(text: string): string {
  return text
    .replaceAll('\\', '\\e')
    .replaceAll('-', '\\-')
    .replaceAll('~', '\\(ti')
    .replaceAll('`', '\\(ga')
    .replaceAll("'", '\\(aq')
    .replaceAll('…', '...')
}
