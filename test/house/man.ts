/** The man pages of the build: one for each command, complete, and nothing that a reader of man pages complains about. */
import { spawnSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { createProgram } from '../../src/cli/main.js'
import { SILENT } from '../fixtures/hints.js'

const MAN = fileURLToPath(new URL('../../dist/man/', import.meta.url))
const pages = readdirSync(MAN).sort()
const program = createProgram(async () => undefined, SILENT)

/** Skips what needs a program that is missing, unless everything has to be installed. */
function missing(name: string): string | false {
  if (process.env.PAB_REQUIRE_REAL === '1') return false
  return spawnSync('sh', ['-c', `command -v ${name}`]).status === 0 ? false : `${name} is not installed`
}

t.test('there is a page for each command, and one for each program', (t) => {
  const names = program.commands.map((command) => `prefect-auth-${command.name()}.1`)
  t.same(pages, ['prefect-auth.1', 'prefect-authd.1', ...names].sort())
  t.end()
})

t.test('each page names every subcommand and every option', (t) => {
  for (const command of program.commands) {
    const text = readFileSync(join(MAN, `prefect-auth-${command.name()}.1`), 'utf8').replaceAll('\\-', '-')
    const shown = command
      .createHelp()
      .visibleCommands(command)
      .filter((one) => one.name() !== 'help')
    for (const one of [command, ...shown]) {
      if (one !== command) t.ok(text.includes(`.B prefect-auth ${command.name()} ${one.name()}`), one.name())
      for (const { long, hidden } of one.options)
        t.ok(hidden || text.includes(`\\fB${long}\\fR`), `${one.name()} ${long}`)
    }
  }
  t.end()
})

t.test('mandoc has no complaint', { skip: missing('mandoc') }, (t) => {
  for (const page of pages) {
    const { status, stdout, stderr } = spawnSync('mandoc', ['-Tlint', '-W', 'warning', join(MAN, page)], {
      encoding: 'utf8',
    })
    t.match({ status, said: `${stdout}${stderr}` }, { status: 0, said: /^$/ }, page)
  }
  t.end()
})

t.test('groff has no complaint', { skip: missing('groff') }, (t) => {
  for (const page of pages) {
    const { status, stderr } = spawnSync('groff', ['-man', '-ww', '-z', '-Tutf8', join(MAN, page)], {
      encoding: 'utf8',
    })
    t.match({ status, stderr }, { status: 0, stderr: /^$/ }, page)
  }
  t.end()
})
