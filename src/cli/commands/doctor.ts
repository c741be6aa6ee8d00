/** `prefect-auth doctor`: named checks, each with what it found and what helps. */
import type { Command } from 'commander'
import type { Doctor } from '../../wire/status.js'
import type { Colors } from '../context.js'
import { printable } from '../printable.js'
import { type CommonOptions, common, type Start } from '../start.js'
import { checkHere } from './check-here.js'

const NOT_RUNNING = 4

export function addDoctor(program: Command, start: Start): void {
  common(program.command('doctor'))
    .description('look for what is wrong; exit code 1 if there is a problem, 4 if the daemon is not running')
    .action((options: CommonOptions) =>
      start('doctor', options, async (session) => {
        const here = await checkHere(session)
        const inside = here.status === undefined ? [] : (await session.client.doctor()).checks
        const doctor = { checks: [...here.checks, ...inside] }
        session.answer(doctor, () => describeDoctor(doctor, session.colors))
        if (here.status === undefined) return NOT_RUNNING
        return doctor.checks.some(({ verdict }) => verdict === 'problem') ? 1 : 0
      }),
    )
}

function describeDoctor({ checks }: Doctor, colors: Colors): string {
  const marks = {
    ok: colors.green,
    warning: colors.yellow,
    problem: colors.red,
    unknown: colors.yellow,
  } as const
  const width = Math.max(0, ...checks.map(({ name }) => printable(name).length))
  const lines = checks.flatMap(({ name, verdict, finding, remedy }) => {
    const line = `${marks[verdict](verdict.padEnd(7))}  ${printable(name).padEnd(width)}  ${printable(finding)}`
    if (remedy === undefined || verdict === 'ok') return [line]
    return [line, `${' '.repeat(width + 11)}${colors.bold(printable(remedy))}`]
  })
  return [...lines, '', summary(checks)].join('\n')
}

function summary(checks: Doctor['checks']): string {
  const count = (verdict: string) => checks.filter((check) => check.verdict === verdict).length
  const [problems, warnings, unknowns] = [count('problem'), count('warning'), count('unknown')]
  if (problems + warnings + unknowns === 0) return `All ${checks.length} checks are good.`
  return `${plural(problems, 'problem')}, ${plural(warnings, 'warning')}, ${unknowns} unknown.`
}

function plural(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`
}
