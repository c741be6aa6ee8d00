/** What an armed fault does to a request and its response. */
import type { ServerResponse } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Answer, html, json } from '../ui/exchange.js'
import type { Fault } from './faults.js'

/** `answer`: send this; `process`: continue; `gone`: send nothing. */
type Before = { readonly kind: 'answer'; readonly answer: Answer } | { readonly kind: 'process' | 'gone' }

/** Applies the fault before the request is processed. */
export async function strikeBefore(fault: Fault, cut: () => void): Promise<Before> {
  switch (fault.kind) {
    case 'status':
      return { kind: 'answer', answer: statusAnswer(fault) }
    case 'html':
      return { kind: 'answer', answer: html(fault.status ?? 200, fault.page ?? PORTAL) }
    case 'redirect':
      return {
        kind: 'answer',
        answer: { status: fault.status ?? 307, headers: { location: fault.location }, body: Buffer.alloc(0) },
      }
    case 'silence':
      return { kind: 'gone' }
    case 'delay':
      await sleep(fault.ms, undefined, { ref: false })
      return { kind: 'process' }
    case 'hold':
      await fault.until
      return { kind: 'process' }
    case 'reset':
      if (fault.when === 'after') return { kind: 'process' }
      cut()
      return { kind: 'gone' }
    case 'half':
    case 'wrong_types':
      return { kind: 'process' }
  }
}

/** Applies the fault after processing. Returns the response to send, or `undefined` if the fault already ended it. */
export function strikeAfter(fault: Fault, answer: Answer, response: ServerResponse): Answer | undefined {
  switch (fault.kind) {
    case 'half':
      sendHalf(answer, response)
      return undefined
    case 'wrong_types':
      return { ...answer, body: Buffer.isBuffer(answer.body) ? withOtherTypes(answer.body) : answer.body }
    case 'reset':
      response.socket?.resetAndDestroy()
      return undefined
    default:
      return answer
  }
}

function statusAnswer({ status, headers = {}, body }: Extract<Fault, { kind: 'status' }>): Answer {
  if (typeof body === 'string') return { status, headers, body: Buffer.from(body) }
  return body === undefined ? { status, headers, body: Buffer.alloc(0) } : json(status, body, { ...headers })
}

function sendHalf(answer: Answer, response: ServerResponse): void {
  const body = Buffer.isBuffer(answer.body) ? answer.body : Buffer.alloc(0)
  response.writeHead(answer.status, { ...answer.headers, 'content-length': String(body.length + 64) })
  // Flushed first: a reset would overtake bytes that are still on their way.
  response.write(body.subarray(0, Math.ceil(body.length / 2)), () => response.socket?.destroy())
}

function withOtherTypes(body: Buffer): Buffer {
  return body.length === 0 ? body : Buffer.from(JSON.stringify(otherType(JSON.parse(body.toString('utf8')))))
}

/** Strings become numbers, numbers and booleans strings, null true; objects keep their names. */
function otherType(value: unknown): unknown {
  if (typeof value === 'string') return 7
  if (typeof value === 'number' || typeof value === 'boolean') return String(value)
  if (Array.isArray(value)) return value.map(otherType)
  if (typeof value !== 'object' || value === null) return true
  return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, otherType(each)]))
}

const PORTAL = '<!doctype html><title>Sign in to the guest network</title><p>Please accept our terms.</p>'
