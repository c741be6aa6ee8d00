/** Turns `include_secrets` to false in a request, so that Prefect does not send Secret blocks in the clear. */
import { BrokerError } from '../base/errors.js'
import { type BodyHeaders, readJson } from './body.js'

const NAME = 'include_secrets'
/** Nobody filters blocks by more than this, and looking at it takes time. */
const MOST_BYTES = 64 * 1024
/** What some other server than Prefect's might read as the same name. */
const LOOKS_LIKE_IT = /include.{0,2}secrets?/iu

/**
 * Returns `query`, which is empty or begins with its question mark, with `include_secrets=false` in place of any other
 * value; every other byte stays. Throws `bad_request` if Prefect might read it in another way than we do.
 */
export function hideInQuery(query: string): string {
  if (!/secret|%/i.test(query)) return query
  let found = 0
  const pieces = query
    .slice(1)
    .split('&')
    .map((piece) => {
      // Pythons of 2020 separate at semicolons, too.
      const [name, ...more] = piece.split(';').map(nameIn)
      if (more.some((other) => LOOKS_LIKE_IT.test(other))) throw unreadable('it follows a semicolon')
      if (name === undefined || !LOOKS_LIKE_IT.test(name)) return piece
      if (name !== NAME) throw unreadable('its name is misspelled')
      found += 1
      return `${piece.split(/[=;]/, 1)[0]}=false`
    })
  if (found > 1) throw unreadable('it is there more than once')
  return `?${pieces.join('&')}`
}

/** Decoded as a form is: the plus sign, too. */
function nameIn(parameter: string): string {
  const encoded = parameter.split('=', 1)[0] ?? ''
  if (!/[%+]/.test(encoded)) return encoded
  let name: string
  try {
    name = decodeURIComponent(encoded.replaceAll('+', ' '))
  } catch {
    throw unreadable('the name of a parameter is not UTF-8')
  }
  if (name.includes('%')) throw unreadable('the name of a parameter is encoded twice')
  return name
}

/** Whether Prefect could read `include_secrets` in a body that is sent there: what is about blocks, or hides its name. */
export function takesSecretsInBody(path: string): boolean {
  return /block|%/i.test(path)
}

/**
 * Returns a JSON body with `"include_secrets": false` in place of true; every other byte stays. Throws `bad_request` if
 * Prefect might read it in another way than we do.
 */
export function hideInBody(body: Uint8Array, headers: BodyHeaders): Uint8Array {
  if (body.length > MOST_BYTES) throw tooLargeToRead()
  const text = textOf(body, headers)
  const members = membersOf(text).filter(({ name }) => LOOKS_LIKE_IT.test(name))
  const [member] = members
  if (member === undefined) return body
  if (members.length > 1) throw unreadable('it is there more than once')
  if (member.name !== NAME) throw unreadable('its name is misspelled')
  const { start, value } = member
  if (value === 'false' || value === 'null') return body
  if (value !== 'true') throw unreadable('it is neither true nor false')
  return new TextEncoder().encode(`${text.slice(0, start)}false${text.slice(start + value.length)}`)
}

/** The text of a body that is one JSON object. */
function textOf(body: Uint8Array, headers: BodyHeaders): string {
  const read = readJson(body, headers)
  if (read.kind === 'other') throw unreadable(read.why)
  if (Array.isArray(read.value)) throw unreadable('the body is not a JSON object')
  return read.text
}

interface Member {
  readonly name: string
  /** The value's first token, and where it begins. */
  readonly start: number
  readonly value: string
}

/** Strings, punctuation, and numbers and words. */
const TOKEN = /"[^"\\]*(?:\\.[^"\\]*)*"|[{}[\],:]|[^\s"{}[\],:]+/g

/** The members of a JSON object, which is known to be valid; not those of objects in it. */
function membersOf(json: string): readonly Member[] {
  const members: Member[] = []
  let depth = 0
  let name: string | undefined
  for (const { 0: token, index } of json.matchAll(TOKEN)) {
    if (token === '}' || token === ']') depth -= 1
    else if (depth === 1 && token !== ':' && token !== ',') {
      if (name === undefined) {
        name = String(JSON.parse(token))
        continue
      }
      members.push({ name, start: index, value: token })
      name = undefined
    }
    if (token === '{' || token === '[') depth += 1
  }
  return members
}

/** For a body that is sent on as it comes. */
export function tooLargeToRead(): BrokerError {
  return unreadable('the body is too large to be read')
}

function unreadable(why: string): BrokerError {
  return new BrokerError('bad_request', `cannot turn off ${NAME}, which this token may not use: ${why}`, {
    hint: `send ${NAME} once, as true or false`,
  })
}
