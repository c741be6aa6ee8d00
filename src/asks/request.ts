/** A proxied request as it is asked about: what it is about, what identifies it, and its body to look at. Pure. */
import { createHash } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { BrokerError } from '../base/errors.js'
import { type Changing, isObject } from '../policy/changes.js'
import { workspaceIn } from '../policy/matcher.js'
import { ruleOn } from '../policy/policy.js'
import { decode } from '../prefect/proxied.js'
import type { Visit } from '../proxy/admission.js'
import type { ProxyBody } from '../proxy/body.js'
import { countsAttempts, retryAfterS } from '../proxy/parking.js'
import { SECOND_MS } from '../std/clock.js'
import { defined } from '../std/defined.js'
import { scrub } from '../std/text.js'
import type { AskBody } from './asks.js'
import type { Asked } from './book.js'
import { quoted, type Spoken } from './sentence.js'

/** What is kept of a body to look at. */
const SHOWN_BYTES = 64 * 1024

/** The part of a path that says in which workspace; what follows is the same for every kind of API. */
function rootOf({ target, served }: Visit): string {
  if (served.kind === 'cloud') return workspaceIn(target.path)
  return /^(?:\/api(?=\/|$))*/.exec(target.path)?.[0] ?? ''
}

/** Called for every request of a token that asks. */
export function needOf(method: string, visit: Visit): Changing {
  const { operation, effect } = ruleOn(method, belowRoot(visit), undefined)
  return { method, operation, ...defined({ effect }) }
}

function belowRoot(visit: Visit): string {
  return visit.target.path.slice(rootOf(visit).length)
}

export interface AskedRequest {
  readonly asked: Asked
  readonly spoken: Spoken
  /** Before the nouns: where names are looked up. */
  readonly root: string
  /** With its query. */
  readonly path: string
  readonly body: AskBody
  readonly bodyBytes: number
  readonly givesUp: boolean
}

/** Throws `bad_request` for a body that nobody could look at. `visit` must have a token. */
export function readRequest(
  request: Pick<IncomingMessage, 'method' | 'headers'>,
  visit: Visit,
  body: ProxyBody,
): AskedRequest {
  const { method = '', headers } = request
  requireReadable(headers['content-encoding'])
  const bytes = body.kind === 'whole' ? body.bytes : Buffer.alloc(0)
  const { target, served, caller } = visit
  const root = rootOf(visit)
  const below = target.path.slice(root.length)
  const { operation, effect } = ruleOn(method, below, undefined)
  const mediaType = headers['content-type']
  const path = `${target.path}${target.query}`
  const userAgent = headers['user-agent']
  const text = textOf(bytes)
  return {
    asked: {
      token: { id: caller.token?.id ?? '', name: caller.token?.name ?? '' },
      profile: served.profile,
      root: (decode(root) ?? root).toLowerCase(),
      operation,
      ...defined({ effect }),
      digest: digestOf([method, path, mediaType ?? ''], bytes),
      retryMs: retryAfterS(userAgent, 'ask_waiting') * SECOND_MS,
    },
    spoken: {
      operation,
      method,
      path: below,
      place: placeOf(visit, root),
      ...defined({ body: objectIn(text) }),
    },
    root,
    path: scrub(path),
    body: viewOf(bytes, text !== undefined, mediaType),
    bodyBytes: bytes.length,
    givesUp: countsAttempts(userAgent),
  }
}

/** Prefect's clients send none; what is encoded could be read by Prefect, and not by who is asked. */
function requireReadable(encoding: string | undefined): void {
  if (encoding === undefined || encoding.toLowerCase() === 'identity') return
  throw new BrokerError(
    'bad_request',
    'the body of a request that waits for a yes must not have a Content-Encoding',
  )
}

function digestOf(head: readonly string[], body: Buffer): string {
  return createHash('sha256').update(JSON.stringify(head)).update(body).digest('hex')
}

const decoder = () => new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

function textOf(bytes: Buffer): string | undefined {
  try {
    return decoder().decode(bytes)
  } catch {
    return undefined
  }
}

/** `undefined` if it is anything else, but for no body at all. */
function objectIn(text: string | undefined): Readonly<Record<string, unknown>> | undefined {
  if (text === '') return {}
  try {
    const value: unknown = JSON.parse(text ?? '')
    return isObject(value) ? value : undefined
  } catch {
    return undefined
  }
}

function viewOf(bytes: Buffer, isText: boolean, mediaType: string | undefined): AskBody {
  // Decoded by itself, since a slice of the whole text would keep all of it in memory. What is cut off may begin in a character.
  const shown = isText ? decoder().decode(bytes.subarray(0, SHOWN_BYTES), { stream: true }) : undefined
  return {
    isCut: isText && bytes.length > SHOWN_BYTES,
    ...defined({ text: shown === undefined ? undefined : scrub(shown), mediaType }),
  }
}

/** The workspace that the request is for, which may not be the profile's present one. */
function placeOf({ served }: Visit, root: string): string {
  const { workspace, kind, profile } = served
  if (kind !== 'cloud' || root === '') return `profile ${quoted(profile)}`
  const id = decode(root.slice(root.lastIndexOf('/') + 1)) ?? ''
  const isOwn = workspace?.workspaceId === id.toLowerCase()
  const handle = isOwn ? workspace?.handle : undefined
  return handle === undefined ? `workspace ${quoted(id)}` : handle.split('/').map(quoted).join('/')
}
