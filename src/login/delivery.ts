/** What a login's port takes for a delivery of its key, by the head of the request alone. Pure. */

import { createHash, timingSafeEqual } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'
import { isSendableKey, parseApiKey } from '../prefect/key.js'
import type { Secret } from '../std/secret.js'

/** The parts of a request that are known before its body. */
interface CallbackHead {
  readonly method: string
  /** The request target, unchanged. */
  readonly target: string
  /** Every `Host` header of the request. */
  readonly hosts: readonly string[]
  readonly headers: IncomingHttpHeaders
}

export interface CallbackRules {
  /** `localhost:PORT` and its two addresses; empty until the port is bound. */
  readonly hosts: ReadonlySet<string>
  readonly uiOrigin: string
  /** Hash of the first segment of the path, if the login uses one. */
  readonly stateHash?: string
}

interface Refusal {
  readonly status: number
  /** One of our own words: text from the request is never logged. */
  readonly why: string
}

/** The one key in the query of a GET; else our word for what is wrong with it. */
export function readDelivery(target: string): Secret | 'no key' | 'key' {
  const [text, ...others] = keysIn(target)
  if (text === undefined) return 'no key'
  return (others.length === 0 ? readKey(text) : undefined) ?? 'key'
}

export function keysIn(target: string): readonly string[] {
  const [, query = ''] = /\?(.*)$/s.exec(target) ?? []
  return new URLSearchParams(query).getAll('key')
}

/** Returns `undefined` unless `text` has the form of a key: no person typed it, so no error needs an explanation. */
export function readKey(text: string): Secret | undefined {
  if (!isSendableKey(text)) return undefined
  try {
    return parseApiKey(text)
  } catch {
    return undefined
  }
}

/** Pure: returns why the request cannot be a delivery, or `undefined`. */
export function refuseCallback(head: CallbackHead, rules: CallbackRules): Refusal | undefined {
  const [host, ...others] = head.hosts
  // DNS rebinding, HTTP/1.0 and a second Host: only the names in our own URL are accepted.
  if (host === undefined || others.length > 0 || !rules.hosts.has(host)) return { status: 421, why: 'host' }
  if (!head.target.startsWith('/')) return { status: 400, why: 'target' }
  if (head.headers.upgrade !== undefined) return { status: 400, why: 'upgrade' }
  // Speculation rules reach loopback from any page, and no person has seen that navigation.
  if (head.headers['sec-purpose'] !== undefined || head.headers.purpose !== undefined) {
    return { status: 403, why: 'speculation' }
  }
  return refuseMethod(head, rules) ?? refusePath(head.target, rules.stateHash)
}

function refuseMethod({ method, headers }: CallbackHead, { uiOrigin }: CallbackRules): Refusal | undefined {
  switch (method) {
    case 'GET': {
      // A top-level navigation has no Origin; the fetch metadata identify requests of scripts and frames.
      const { 'sec-fetch-mode': mode = 'navigate', 'sec-fetch-dest': dest = 'document' } = headers
      if (headers.origin !== undefined) return { status: 403, why: 'origin' }
      return mode === 'navigate' && dest === 'document' ? undefined : { status: 403, why: 'not a navigation' }
    }
    case 'POST':
      // Exactly this string: `null` (sandboxed frames, files) and a missing Origin are not the UI.
      return headers.origin === uiOrigin ? undefined : { status: 403, why: 'origin' }
    case 'OPTIONS':
      if (headers.origin !== uiOrigin) return { status: 403, why: 'origin' }
      return headers['access-control-request-method'] === 'POST'
        ? undefined
        : { status: 400, why: 'preflight' }
    default:
      return { status: 405, why: 'method' }
  }
}

function refusePath(target: string, stateHash: string | undefined): Refusal | undefined {
  if (stateHash === undefined) return undefined
  const [, segment = ''] = /^\/([^/?]*)/.exec(target) ?? []
  const [given, wanted] = [hashState(segment), stateHash].map((text) => Buffer.from(text, 'hex'))
  // In constant time: the duration of a failed attempt must not reveal how much of it was right.
  const isRight = given !== undefined && given.length === wanted?.length && timingSafeEqual(given, wanted)
  return isRight ? undefined : { status: 404, why: 'state' }
}

/** What is kept of the text in a callback's path. */
export function hashState(state: string): string {
  return createHash('sha256').update(state).digest('hex')
}
