/** Questions to the person at the terminal; where nobody is there, the failure names the flag to give. */
import { failed, failWith } from '../client/failure.js'
import { askLine, type Question } from './ask-line.js'
import type { Session } from './context.js'

/** Fails with `usage` where nobody can be asked. `situation`: what there is, or is not; `flag`: the command that helps. */
export function requirePerson({ isInteractive }: Session, situation: string, flag: string): void {
  if (isInteractive) return
  failWith({
    code: 'usage',
    kind: 'usage',
    detail: `${situation}, and without a terminal nobody can be asked`,
    hint: flag,
  })
}

/** Yes only for `y` or `yes`. */
export async function askYes(session: Session, text: string): Promise<boolean> {
  return /^y(es)?$/i.test(await ask(session, { text: `${text} [y/N] `, isHidden: false }))
}

/** A secret from stdin where it is a pipe and `fromStdin` says so, else typed without echo. `flag` names the option. */
export async function readSecret(
  session: Session,
  { what, fromStdin, flag }: { what: string; fromStdin: boolean; flag: string },
): Promise<string> {
  if (session.terminal.stdin.isTTY === true) {
    return nonEmpty(what, await ask(session, { text: `${what}: `, isHidden: true }))
  }
  if (!fromStdin) requirePerson(session, `no ${what} was given`, flag)
  return nonEmpty(what, await readAll(session))
}

function ask({ terminal }: Session, question: Question): Promise<string> {
  return askLine(terminal.stdin, terminal.stderr, question)
}

async function readAll({ terminal }: Session): Promise<string> {
  let text = ''
  terminal.stdin.setEncoding('utf8')
  for await (const chunk of terminal.stdin) {
    text += chunk
    if (text.length > 10_000)
      throw failed({ code: 'usage', kind: 'usage', detail: 'stdin holds more than a secret' })
  }
  return text
}

function nonEmpty(what: string, text: string): string {
  const line = text.replace(/[\r\n]+$/, '')
  if (line.trim() === '') failWith({ code: 'usage', kind: 'usage', detail: `no ${what} was given` })
  return line
}
