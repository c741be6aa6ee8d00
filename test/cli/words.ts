/** Words that people type: they work, or are answered with the command that is meant. */
import { type Command, CommanderError } from 'commander'
import t from 'tap'
import { createProgram } from '../../src/cli/main.js'
import { knownWords } from '../../src/cli/words.js'
import { buildCli } from '../fixtures/built-cli.js'
import { SILENT } from '../fixtures/hints.js'
import { startScriptedDaemon } from '../fixtures/scripted-daemon.js'

const cli = await buildCli(t)

/** The path of the command that a line reaches, or why it does not parse. */
async function reach(line: string): Promise<string> {
  let said = ''
  let reached = ''
  const program = createProgram(
    async (name) => {
      reached = name
    },
    {
      ...SILENT,
      writeErr: (text) => {
        said += text
      },
    },
  )
  const quiet = (command: Command) => {
    command.exitOverride()
    for (const one of command.commands) quiet(one)
  }
  quiet(program)
  try {
    await program.parseAsync(line.split(' '), { from: 'user' })
    return reached
  } catch (error) {
    if (error instanceof CommanderError) return said
    throw error
  }
}

t.test('every word is no command itself, and what it means is one', async (t) => {
  const program = createProgram(async () => undefined, SILENT)
  for (const { path, word, meant } of knownWords()) {
    const here = path.split(' ').slice(1)
    const owner = here.reduce<Command | undefined>(
      (command, name) => command?.commands.find((one) => one.name() === name),
      program,
    )
    t.ok(owner, path)
    const names = owner?.commands.flatMap((one) => [one.name(), ...one.aliases()])
    t.notOk(names?.includes(word), `${path} ${word}`)
    // `env`, `exec` and the scripts are not run by the program's own parser.
    const first = meant.split(' ')[0] ?? ''
    if (['env', 'exec', 'completion'].includes(first))
      t.ok(
        program.commands.some((one) => one.name() === first),
        meant,
      )
    else t.ok(meant.startsWith(await reach(meant)), `${path} ${word}: ${meant}: ${await reach(meant)}`)
  }
})

t.test(
  'a word of another tool is answered with the command that is meant, and nothing that contradicts it',
  async (t) => {
    const { env } = await startScriptedDaemon(t, {})
    for (const [line, hint] of [
      ['whoami', 'prefect-auth status'],
      ['run', 'prefect-auth exec -- CMD'],
      ['ls', 'prefect-auth profile ls'],
      ['key ls', 'prefect-auth keys ls'],
      ['-p prod switch', 'prefect-auth profile use NAME'],
      ['profile switch prod', 'prefect-auth profile use NAME'],
      ['workspace use a/b', 'prefect-auth workspace set ACCOUNT/WORKSPACE'],
      ['token rm t1', 'prefect-auth token revoke ID'],
      ['keys rotate', 'prefect-auth renew --now'],
      ['service restart', 'prefect-auth service install'],
      ['constructor', 'prefect-auth --help'],
    ] as const) {
      const outcome = await cli.run(line.split(' '), { env })
      t.match(outcome, { code: 2, stdout: '' }, line)
      t.match(
        outcome.stderr,
        new RegExp(`^prefect-auth: unknown command '[^']+'\ntry: ${hint.replaceAll('/', '\\/')}\n$`),
        line,
      )
    }
  },
)

t.test('list is ls', async (t) => {
  for (const group of ['profile', 'workspace', 'keys', 'token'])
    t.equal(await reach(`${group} list`), `${group} ls`)
})

t.test('a page of help is found by help, by --help and by its alias', async (t) => {
  const { env } = await startScriptedDaemon(t, {})
  const page = await cli.run(['token', 'create', '--help'], { env })
  t.match(page, { code: 0, stdout: /^Usage: prefect-auth token create/ })
  t.same(await cli.run(['help', 'token', 'create'], { env }), page)
})
