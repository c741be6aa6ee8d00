/** Questions to the person at the terminal; without one, the failure names the option to use. */

import type { ReadStream, WriteStream } from 'node:tty'
import type { Option } from '@clack/prompts'
import { defined } from '../std/defined.js'
import type { WorkspaceView } from '../wire/profile.js'
import { cancelled, usageError } from './failure.js'
import { isDumb, type Session } from './session.js'
import { printable } from './text.js'

interface Question {
  /** A function is asked again at each `redraw`. */
  readonly text: string | (() => string)
  /** Shows how many characters were typed, never which. */
  readonly isHidden: boolean
  /** The terminal knows no escape sequences: nothing is drawn over, and what is typed is only added to. */
  readonly isDumb?: boolean
}

/** Owns the terminal, without echo, until it is closed. */
export interface OpenQuestion {
  /** Resolves with the next line, trimmed. Ctrl-C and Ctrl-D reject with the failure `cancelled`. */
  next(): Promise<string>
  /** Prints a line above the question and keeps what was typed. */
  interject(text: string): void
  /** Shows the text of now. Does nothing if the line is too narrow for it: only one row can be cleared. */
  redraw(): void
  /** Withdraws the question: a pending `next` never settles. Idempotent. */
  close(): void
}

const ESC = '\x1b'
const PASTE_MARKS = new RegExp(`${ESC}\\[20[01]~`, 'g')
const ESCAPES = new RegExp(`${ESC}(?:\\[[0-9;?]*[ -/]*[@-~]|[\\s\\S])?`, 'g')
const CLEAR_LINE = `\r${ESC}[K`

/**
 * Asks for one line after another. Raw mode stays on between them: a paste must not be echoed while the line before it is
 * being checked.
 */
export function openLine(
  input: ReadStream,
  output: WriteStream,
  { text, isHidden, isDumb = false }: Question,
): OpenQuestion {
  let typed = ''
  /** What a dumb terminal shows of this line. */
  let drawn: string | undefined
  let waiting: { resolve(line: string): void; reject(error: Error): void } | undefined
  /** Keys typed while no line was asked for. */
  let early = ''
  let isOpen = true
  const shown = () => (isHidden && typed !== '' ? `[${typed.length} characters]` : typed)
  const line = () => `${typeof text === 'string' ? text : text()}${shown()}`
  const draw = () => {
    if (waiting === undefined) return
    if (!isDumb) {
      output.write(`${CLEAR_LINE}${line()}`)
      return
    }
    // A hidden line is not drawn while it is typed: each of its states would stay on the screen.
    const now = isHidden ? '' : typed
    const isLonger = drawn !== undefined && now.startsWith(drawn)
    output.write(isLonger ? now.slice(drawn?.length) : `${drawn === undefined ? '' : '\n'}${line()}`)
    drawn = now
  }
  const take = (keys: string) => {
    const edited = edit(typed, keys)
    const { rest, ending } = edited
    typed = edited.line
    draw()
    if (ending === undefined) return
    output.write('\n')
    typed = ''
    drawn = undefined
    early = rest
    const asker = waiting
    waiting = undefined
    if (ending === 'enter') asker?.resolve(edited.line.trim())
    else asker?.reject(cancelled())
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
      output.write(isDumb ? `\n${note}\n` : `${CLEAR_LINE}${note}\n`)
      drawn = undefined
      draw()
    },
    redraw() {
      if (!isDumb && line().length < output.columns) draw()
    },
    close() {
      if (!isOpen) return
      isOpen = false
      input.off('data', onData)
      input.setRawMode(false)
      input.pause()
      if (waiting !== undefined) output.write(isDumb ? '\n' : CLEAR_LINE)
    },
  }
}

/** The one line that stdin holds, asked for like a question. `next` rejects with `usage` if there is none. */
export function openStdinLine(session: Session): OpenQuestion {
  let line: Promise<string> | undefined
  return {
    next() {
      line ??= readLine(session)
      return line
    },
    interject: session.say,
    redraw: () => undefined,
    close: () => void session.terminal.stdin.destroy(),
  }
}

/** Does not wait for the end of stdin: a pipe may stay open. */
async function readLine({ terminal: { stdin } }: Session): Promise<string> {
  let text = ''
  stdin.setEncoding('utf8')
  for await (const chunk of stdin.iterator({ destroyOnReturn: false })) {
    text += chunk
    if (text.length > 10_000) throw usageError('stdin is too long for an address')
    if (/\S[^\n]*\n/.test(text)) break
  }
  const line = text.trim().split('\n')[0]?.trim() ?? ''
  if (line === '') throw usageError('there was no address on stdin')
  return line
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
  /** Keys after the one that ended the line. */
  readonly rest: string
  readonly ending?: 'enter' | 'cancel'
}

/** The line after more keys, or a paste. */
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

/** Fails with `usage` if nobody can be asked. `problem`: why a person is needed; `hint`: the command that needs none. */
export function requirePerson({ isInteractive }: Session, problem: string, hint: string): void {
  if (!isInteractive) throw usageError(`${problem}, and there is no terminal to ask on`, hint)
}

/** Resolves with true only for `y` or `yes`. */
export async function askYes(session: Session, text: string): Promise<boolean> {
  return /^y(es)?$/i.test(await ask(session, { text: `${text} [y/N] `, isHidden: false }))
}

/**
 * Asks for a secret without echo, or reads it from stdin if that is not a terminal and `fromStdin` allows it. `hint`: the
 * command that reads it from stdin.
 */
export async function readSecret(
  session: Session,
  { what, fromStdin, hint }: { what: string; fromStdin: boolean; hint: string },
): Promise<string> {
  if (session.terminal.stdin.isTTY === true) {
    return nonEmpty(what, await ask(session, { text: `${what}: `, isHidden: true }))
  }
  if (!fromStdin) requirePerson(session, `no ${what} was given`, hint)
  return nonEmpty(what, await readAll(session))
}

function ask({ terminal }: Session, question: Question): Promise<string> {
  return askLine(terminal.stdin, terminal.stderr, { ...question, isDumb: isDumb(terminal) })
}

async function readAll({ terminal }: Session): Promise<string> {
  let text = ''
  terminal.stdin.setEncoding('utf8')
  for await (const chunk of terminal.stdin) {
    text += chunk
    if (text.length > 10_000) throw usageError('stdin is too long for a secret')
  }
  // As PowerShell writes files: every other byte would be taken for a part of the secret.
  if (/[\0\ufffd]/.test(text)) throw usageError('stdin is not UTF-8 text; save the file as UTF-8, not UTF-16')
  return text.replace(/^\ufeff/, '')
}

function nonEmpty(what: string, text: string): string {
  const line = text.replace(/[\r\n]+$/, '')
  if (line.trim() === '') throw usageError(`no ${what} was given`)
  return line
}

const SHORT_LIST = 8

/** Resolves with the workspace that was chosen. Fails with `cancelled` on Ctrl-C or Escape. */
export async function pickWorkspace(
  session: Session,
  workspaces: readonly WorkspaceView[],
): Promise<WorkspaceView> {
  const { terminal } = session
  if (isDumb(terminal)) return pickByNumber(session, workspaces)
  // Loaded only for this: start-up is what the other commands cost.
  const { autocomplete, isCancel, select } = await import('@clack/prompts')
  // Serial lines and some containers report 0, and every letter would get its own line.
  if (terminal.stderr.columns === 0) terminal.stderr.columns = 80
  const options: Option<string>[] = workspaces.map((workspace) => ({
    value: workspace.workspace_id,
    label: printable(workspace.handle),
    ...defined({ hint: workspace.current ? 'current' : undefined }),
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
    : // By name only: the default filter searches the ids too, and any digit occurs in some id.
      autocomplete({
        ...common,
        maxItems: 10,
        placeholder: 'type to search',
        filter: (search, { label = '' }) => label.toLowerCase().includes(search.toLowerCase()),
      }))
  const workspace = isCancel(chosen) ? undefined : workspaces.find((one) => one.workspace_id === chosen)
  if (workspace === undefined) throw cancelled()
  return workspace
}

/** The same where nothing can be drawn over: a list, and its number. */
async function pickByNumber(session: Session, workspaces: readonly WorkspaceView[]): Promise<WorkspaceView> {
  for (const [at, { handle, current }] of workspaces.entries())
    session.say(`${String(at + 1).padStart(4)}  ${printable(handle)}${current ? '  (current)' : ''}`)
  const { stdin, stderr } = session.terminal
  const text = `Workspace, 1 to ${workspaces.length}: `
  // One question until there is an answer: what is typed ahead is kept.
  const prompt = openLine(stdin, stderr, { text, isHidden: false, isDumb: true })
  try {
    for (;;) {
      const typed = await prompt.next()
      const chosen = /^\d+$/.test(typed) ? workspaces[Number(typed) - 1] : undefined
      if (chosen !== undefined) return chosen
    }
  } finally {
    prompt.close()
  }
}
