/** Questions to the person at the terminal; where nobody is there, the failure names the flag to give. */

import type { ReadStream, WriteStream } from 'node:tty'
import type { Option } from '@clack/prompts'
import { failed, failWith } from '../client/failure.js'
import { defined } from '../std/defined.js'
import type { WorkspaceView } from '../wire/profile.js'
import type { Session } from './session.js'
import { printable } from './text.js'

interface Question {
  readonly text: string
  /** Shows how many characters came, never which. */
  readonly isHidden: boolean
}

/** Holds the terminal, without echo, until it is closed. */
interface OpenQuestion {
  /** The next line, without blanks around it. Ctrl-C and Ctrl-D reject with the failure `cancelled`. */
  next(): Promise<string>
  /** Says something above the question; what was typed stays. */
  interject(text: string): void
  /** Takes the question back: a pending `next` never settles. Idempotent. */
  close(): void
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: keys of a terminal are control characters
const PASTE_MARKS = /\x1b\[20[01]~/g
// biome-ignore lint/suspicious/noControlCharactersInRegex: keys of a terminal are control characters
const ESCAPES = /\x1b(?:\[[0-9;?]*[ -/]*[@-~]|[\s\S])?/g
const CLEAR_LINE = '\r\x1b[K'

/**
 * Asks, line after line. Raw mode stays on from the first to the last: while one line is being looked at, the next
 * paste must not show up either.
 */
export function openLine(input: ReadStream, output: WriteStream, { text, isHidden }: Question): OpenQuestion {
  let typed = ''
  let waiting: { resolve(line: string): void; reject(error: Error): void } | undefined
  /** Keys that came while nobody waited for a line. */
  let early = ''
  let isOpen = true
  const shown = () => (isHidden && typed !== '' ? `[${typed.length} characters]` : typed)
  const draw = () => {
    if (waiting !== undefined) output.write(`${CLEAR_LINE}${text}${shown()}`)
  }
  const take = (keys: string) => {
    const { line, rest, ending } = edit(typed, keys)
    typed = line
    draw()
    if (ending === undefined) return
    output.write('\n')
    typed = ''
    early = rest
    const asker = waiting
    waiting = undefined
    if (ending === 'enter') asker?.resolve(line.trim())
    else asker?.reject(failed({ code: 'cancelled', kind: 'cancelled', detail: 'cancelled' }))
  }
  const onData = (chunk: Buffer | string) => {
    if (waiting === undefined) early += chunk.toString()
    else take(chunk.toString())
  }
  input.setRawMode(true)
  input.on('data', onData)
  input.resume()
  return {
    next() {
      return new Promise((resolve, reject) => {
        waiting = { resolve, reject }
        const keys = early
        early = ''
        draw()
        if (keys !== '') take(keys)
      })
    },
    interject(note) {
      output.write(`${CLEAR_LINE}${note}\n`)
      draw()
    },
    close() {
      if (!isOpen) return
      isOpen = false
      input.off('data', onData)
      input.setRawMode(false)
      input.pause()
      if (waiting !== undefined) output.write(CLEAR_LINE)
    },
  }
}

/** Asks for one line. */
async function askLine(input: ReadStream, output: WriteStream, question: Question): Promise<string> {
  const prompt = openLine(input, output, question)
  try {
    return await prompt.next()
  } finally {
    prompt.close()
  }
}

interface Edited {
  readonly line: string
  /** Keys behind the one that ended the line. */
  readonly rest: string
  readonly ending?: 'enter' | 'cancel'
}

/** Pure: the line after some keys, or a paste, came. */
export function edit(before: string, typed: string): Edited {
  let line = before
  const keys = typed.replace(PASTE_MARKS, '').replace(ESCAPES, '')
  for (const [at, key] of [...keys].entries()) {
    if (key === '\r' || key === '\n') return { line, rest: [...keys].slice(at + 1).join(''), ending: 'enter' }
    if (key === '\x03' || (key === '\x04' && line === '')) return { line: '', rest: '', ending: 'cancel' }
    if (key === '\x7f' || key === '\b') line = line.slice(0, -1)
    else if (key === '\x15') line = ''
    else if (key >= ' ') line += key
  }
  return { line, rest: '' }
}

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

const SHORT_LIST = 8

/** The handle of the workspace chosen. Fails with `cancelled` at Ctrl-C or Escape. */
export async function pickWorkspace(
  { terminal }: Session,
  workspaces: readonly WorkspaceView[],
): Promise<WorkspaceView> {
  // Loaded when somebody has to choose: start-up is the cost of every other command.
  const { autocomplete, isCancel, select } = await import('@clack/prompts')
  // Serial lines and some containers say 0: each letter would get a line of its own.
  if (terminal.stderr.columns === 0) terminal.stderr.columns = 80
  const options: Option<string>[] = workspaces.map((workspace) => ({
    value: workspace.workspace_id,
    label: printable(workspace.handle),
    ...(workspace.current ? { hint: 'now' } : {}),
  }))
  const current = workspaces.find(({ current }) => current)?.workspace_id
  const common = {
    message: 'Workspace',
    options,
    input: terminal.stdin,
    output: terminal.stderr,
    ...defined({ initialValue: current }),
  }
  const chosen = await (options.length <= SHORT_LIST
    ? select(common)
    : // By name alone: the default filter looks into the ids too, where any digit stands.
      autocomplete({
        ...common,
        maxItems: 10,
        placeholder: 'type to search',
        filter: (search, { label = '' }) => label.toLowerCase().includes(search.toLowerCase()),
      }))
  const workspace = isCancel(chosen) ? undefined : workspaces.find((one) => one.workspace_id === chosen)
  if (workspace === undefined) throw failed({ code: 'cancelled', kind: 'cancelled', detail: 'cancelled' })
  return workspace
}
