/** One line from the terminal, shown or hidden, beside whatever else is going on. */
import type { ReadStream, WriteStream } from 'node:tty'
import { failed } from '../client/failure.js'

export interface Question {
  readonly text: string
  /** Shows how many characters came, never which. */
  readonly isHidden: boolean
}

/** Holds the terminal, without echo, until it is closed. */
export interface OpenQuestion {
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
export async function askLine(input: ReadStream, output: WriteStream, question: Question): Promise<string> {
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
