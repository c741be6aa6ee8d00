/** Recognises requests in their plainest form, as most programs send them. Everything else is for Node's parser. Pure. */

/** A request head to the letter of the narrow grammar below: what Node's parser makes of it, no more and no less. */
export interface Recognised {
  readonly method: string
  /** A path, with its query. */
  readonly url: string
  /** As `IncomingMessage.rawHeaders`; each name stands once. */
  readonly rawHeaders: string[]
  /** As `IncomingMessage.headers`. */
  readonly headers: Readonly<Record<string, string>>
  /** Whether the client wants another answer on this connection. */
  readonly keepsAlive: boolean
  /** Bytes up to the body, and of the body. */
  readonly headLength: number
  readonly bodyLength: number
}

/** What is longer goes to Node. */
export const PLAIN_HEAD_BYTES = 4 * 1024
export const PLAIN_BODY_BYTES = 16 * 1024

/** Of the proxy's methods, those whose answer has a body like any other. */
const METHODS = ['GET', 'POST', 'PUT', 'PATCH', 'DELETE'] as const

/** In lower case. What is not here may change how a request is read, or is nobody's whom we know. */
const NAMES: ReadonlySet<string> = new Set([
  'accept',
  'accept-encoding',
  'authorization',
  'connection',
  'content-length',
  'content-type',
  'host',
  'if-none-match',
  'prefect-auth-profiles-file',
  'prefect-csrf-client',
  'prefect-csrf-token',
  'traceparent',
  'user-agent',
  'x-prefect-api-version',
  'x-prefect-deployment-id',
  'x-prefect-deployment-name',
  'x-prefect-flow-id',
  'x-prefect-flow-name',
  'x-prefect-flow-run-id',
  'x-prefect-flow-run-name',
  'x-prefect-worker-id',
  'x-prefect-worker-name',
])

/** Unreserved characters and those that separate, each meaning itself (RFC 3986), and escapes as the client wrote them. */
const LINE = new RegExp(`^(?:${METHODS.join('|')}) /[\\w.~!$&'()*+,;=:@%/?-]* HTTP/1\\.1$`)
const HEAD_CHARACTERS = /^[\x20-\x7e\r\n]*$/
const LENGTH = /^(?:0|[1-9]\d{0,5})$/

/** `undefined` for everything but a whole head in its plainest form. */
export function recognise(bytes: Buffer): Recognised | undefined {
  const end = bytes.indexOf('\r\n\r\n', 0, 'latin1')
  if (end === -1 || end > PLAIN_HEAD_BYTES) return undefined
  const head = bytes.toString('latin1', 0, end)
  if (!HEAD_CHARACTERS.test(head)) return undefined
  const lineEnd = head.indexOf('\r\n')
  const line = head.slice(0, lineEnd)
  if (lineEnd === -1 || !LINE.test(line)) return undefined
  const fields = readFields(head, lineEnd + 2)
  if (fields === undefined) return undefined
  const { headers } = fields
  const isHeld = headers.connection === undefined || headers.connection.toLowerCase() === 'keep-alive'
  if (headers.host === undefined || (!isHeld && headers.connection !== 'close')) return undefined
  const method = line.slice(0, line.indexOf(' '))
  const bodyLength = bodyLengthOf(method, headers['content-length'])
  if (bodyLength === undefined) return undefined
  return {
    method,
    url: line.slice(method.length + 1, -' HTTP/1.1'.length),
    ...fields,
    keepsAlive: isHeld,
    headLength: end + 4,
    bodyLength,
  }
}

type Fields = Pick<Recognised, 'rawHeaders' | 'headers'>

/** `Name: value` in each line: a name of the list, once; one space; a value without space around it. */
function readFields(head: string, start: number): Fields | undefined {
  const rawHeaders: string[] = []
  const headers: Record<string, string> = {}
  for (let at = start; at < head.length; ) {
    const next = head.indexOf('\r\n', at)
    const end = next === -1 ? head.length : next
    const colon = head.indexOf(': ', at)
    if (colon === -1 || colon + 2 >= end) return undefined
    const name = head.slice(at, colon)
    const lower = name.toLowerCase()
    const value = head.slice(colon + 2, end)
    if (!NAMES.has(lower) || headers[lower] !== undefined || !isPlainValue(value)) return undefined
    rawHeaders.push(name, value)
    headers[lower] = value
    at = end + 2
  }
  return { rawHeaders, headers }
}

/** A lone CR or LF is nobody's line end. */
function isPlainValue(value: string): boolean {
  return !value.startsWith(' ') && !value.endsWith(' ') && !value.includes('\r') && !value.includes('\n')
}

/** `undefined`: not for us to read. */
function bodyLengthOf(method: string, length: string | undefined): number | undefined {
  if (length === undefined) return 0
  // A body that comes with a GET means something only to whoever wants two readings of one request.
  if (method === 'GET' || !LENGTH.test(length)) return undefined
  const bytes = Number(length)
  return bytes <= PLAIN_BODY_BYTES ? bytes : undefined
}

export function isLineEnd(byte: number): boolean {
  return byte === 0x0d || byte === 0x0a
}

/** `not_compared`: this Node may read or write something in another way, and has all requests. */
export type RecogniserState = 'on' | 'off' | 'not_compared'

/** The major versions of Node whose parser and responses our tests compare with ours. */
const COMPARED: readonly string[] = ['20', '22', '24']

/** `node`: a version, `v20.19.0`. */
export function recogniserState(setting: 'auto' | 'off', node: string): RecogniserState {
  if (setting === 'off') return 'off'
  return COMPARED.includes(/^v?(\d+)\./.exec(node)?.[1] ?? '') ? 'on' : 'not_compared'
}
