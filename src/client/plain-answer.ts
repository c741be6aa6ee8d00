/** An HTTP answer in the one form that the daemon sends; every other form is for node:http to read. Pure. */

/** Named as in node:http, whose answers are used beside it. */
export interface PlainAnswer {
  readonly statusCode: number
  /** By their names in small letters. */
  readonly headers: Readonly<Record<string, string>>
  readonly text: string
}

type Reading =
  | { readonly kind: 'whole'; readonly answer: PlainAnswer }
  /** The rest of the body is still to come. */
  | { readonly kind: 'part' }
  | { readonly kind: 'other' }

const OTHER: Reading = { kind: 'other' }
const MOST_HEAD = 8 * 1024
/** More than this is read as it comes, not kept until it is whole. */
const MOST_BODY = 1024 * 1024
const HEAD_END = '\r\n\r\n'
/** Without those that have no body, or are followed by another answer. */
const STATUS_LINE = /^HTTP\/1\.1 (2(?!04)\d\d|3(?!04)\d\d|[45]\d\d) [\x20-\x7e]*$/
const HEADER = /^([A-Za-z0-9-]+): ([\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?)$/
const LENGTH = /^(?:0|[1-9]\d{0,6})$/
const CONNECTIONS: readonly (string | undefined)[] = ['close', 'keep-alive', undefined]

/**
 * Reads what has been received so far. `whole` is what node:http would read as well: a head that came in one piece, each header
 * once, and a body as long as `content-length` says, with nothing after it.
 */
export function readPlainAnswer(received: Buffer): Reading {
  const end = received.indexOf(HEAD_END)
  if (end < 0 || end > MOST_HEAD) return OTHER
  const [first = '', ...lines] = received.toString('latin1', 0, end).split('\r\n')
  const statusCode = Number(STATUS_LINE.exec(first)?.[1])
  const headers = readHeaders(lines)
  if (Number.isNaN(statusCode) || headers === undefined) return OTHER
  const { connection, upgrade, 'transfer-encoding': coding, 'content-length': length = '' } = headers
  const isPlain = LENGTH.test(length) && CONNECTIONS.includes(connection?.toLowerCase())
  if (!isPlain || coding !== undefined || upgrade !== undefined) return OTHER
  const body = received.subarray(end + HEAD_END.length)
  if (body.length > Number(length) || Number(length) > MOST_BODY) return OTHER
  if (body.length < Number(length)) return { kind: 'part' }
  return { kind: 'whole', answer: { statusCode, headers, text: body.toString('utf8') } }
}

/** `undefined` if one is not `name: value` of printable characters, or comes twice. */
function readHeaders(lines: readonly string[]): PlainAnswer['headers'] | undefined {
  const pairs = lines.map((line) => HEADER.exec(line)?.slice(1) ?? [])
  const names = new Set(pairs.map(([name]) => name?.toLowerCase()))
  if (names.has(undefined) || names.size < pairs.length) return undefined
  return Object.fromEntries(pairs.map(([name = '', value = '']) => [name.toLowerCase(), value]))
}
