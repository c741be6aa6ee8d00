/** D-Bus messages as bytes: those that we send, and whatever arrives (D-Bus Specification 0.43, little and big endian). */

/** What a body may hold of ours: `[signature, value]` for each argument. */
export type BusArgument =
  | readonly ['s', string]
  | readonly ['u' | 'i', number]
  | readonly ['as', readonly string[]]
  /** Hints: a byte each. */
  | readonly ['a{sv}', Readonly<Record<string, number>>]

export interface BusCall {
  readonly destination: string
  readonly path: string
  readonly interface: string
  readonly member: string
  readonly body: readonly BusArgument[]
}

export interface BusMessage {
  readonly kind: 'call' | 'answer' | 'error' | 'signal' | 'other'
  readonly answers?: number
  readonly path?: string
  readonly interface?: string
  readonly member?: string
  /** The unique name of who sent it: the bus writes it, whatever the sender says. */
  readonly sender?: string
  readonly body: readonly unknown[]
}

const KINDS = ['other', 'call', 'answer', 'error', 'signal'] as const
const FIXED = 16
/** Far above every notification. */
export const MAX_MESSAGE_BYTES = 1024 * 1024

const FIELDS = {
  path: 1,
  interface: 2,
  member: 3,
  answers: 5,
  destination: 6,
  sender: 7,
  signature: 8,
} as const

function createWriter() {
  const bytes: number[] = []
  const align = (to: number) => {
    while (bytes.length % to !== 0) bytes.push(0)
  }
  const writer = {
    bytes,
    align,
    byte: (value: number) => void bytes.push(value & 255),
    number(value: number) {
      align(4)
      bytes.push(value & 255, (value >> 8) & 255, (value >> 16) & 255, (value >>> 24) & 255)
    },
    text(value: string) {
      const encoded = Buffer.from(value)
      writer.number(encoded.length)
      bytes.push(...encoded, 0)
    },
    signature(value: string) {
      bytes.push(value.length, ...Buffer.from(value), 0)
    },
    /** Elements are aligned after the length, which does not count that. */
    array(alignment: number, write: () => void) {
      writer.number(0)
      const at = bytes.length
      align(alignment)
      const start = bytes.length
      write()
      const length = bytes.length - start
      bytes.splice(at - 4, 4, length & 255, (length >> 8) & 255, (length >> 16) & 255, (length >>> 24) & 255)
    },
  }
  return writer
}

function writeArgument(to: ReturnType<typeof createWriter>, argument: BusArgument): void {
  switch (argument[0]) {
    case 's':
      to.text(argument[1])
      break
    case 'u':
    case 'i':
      to.number(argument[1])
      break
    case 'as':
      to.array(4, () => {
        for (const one of argument[1]) to.text(one)
      })
      break
    case 'a{sv}':
      to.array(8, () => {
        for (const [name, value] of Object.entries(argument[1])) {
          to.align(8)
          to.text(name)
          to.signature('y')
          to.byte(value)
        }
      })
  }
}

export function encodeCall(call: BusCall, serial: number): Buffer {
  const body = createWriter()
  for (const argument of call.body) writeArgument(body, argument)
  const head = createWriter()
  for (const byte of [0x6c, 1, 0, 1]) head.byte(byte)
  head.number(body.bytes.length)
  head.number(serial)
  const fields = [
    ...([['path', 'o', call.path] as const, ['destination', 's', call.destination] as const] as const),
    ...([['interface', 's', call.interface] as const, ['member', 's', call.member] as const] as const),
  ]
  head.array(8, () => {
    for (const [name, type, value] of fields) {
      head.align(8)
      head.byte(FIELDS[name])
      head.signature(type)
      head.text(value)
    }
    if (call.body.length === 0) return
    head.align(8)
    head.byte(FIELDS.signature)
    head.signature('g')
    head.signature(call.body.map(([type]) => type).join(''))
  })
  head.align(8)
  return Buffer.from([...head.bytes, ...body.bytes])
}

/** The length of the message at the begin of `bytes`; `undefined` if more is needed to know it. Throws if it is none, or too long. */
export function messageLength(bytes: Buffer): number | undefined {
  if (bytes.length < FIXED) return undefined
  const isLittle = bytes[0] === 0x6c
  if (!isLittle && bytes[0] !== 0x42) throw new RangeError('no message of the bus')
  const read = (at: number) => (isLittle ? bytes.readUInt32LE(at) : bytes.readUInt32BE(at))
  const length = Math.ceil((FIXED + read(12)) / 8) * 8 + read(4)
  if (length > MAX_MESSAGE_BYTES) throw new RangeError('too long a message')
  return length
}

/** Of one whole message. Throws `RangeError` for bytes that are none. */
export function decodeMessage(bytes: Buffer): BusMessage {
  const reader = createReader(bytes)
  const kind = KINDS[bytes[1] ?? 0] ?? 'other'
  reader.seek(12)
  const found = new Map<number, unknown>()
  const fields = reader.value('a(yv)')
  for (const field of Array.isArray(fields) ? fields : []) {
    if (Array.isArray(field)) found.set(Number(field[0]), field[1])
  }
  reader.align(8)
  const text = (code: number) => {
    const value = found.get(code)
    return typeof value === 'string' ? value : undefined
  }
  const signature = text(FIELDS.signature) ?? ''
  const answers = found.get(FIELDS.answers)
  const facts = { path: text(FIELDS.path), interface: text(FIELDS.interface), member: text(FIELDS.member) }
  return {
    kind,
    ...withoutUndefined({ ...facts, sender: text(FIELDS.sender) }),
    ...(typeof answers === 'number' ? { answers } : {}),
    body: reader.all(signature),
  }
}

function withoutUndefined(texts: Readonly<Record<string, string | undefined>>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(texts).filter((entry): entry is [string, string] => entry[1] !== undefined),
  )
}

const ALIGNMENT: Readonly<Record<string, number>> = {
  ...{ y: 1, g: 1, v: 1, n: 2, q: 2, b: 4, i: 4, u: 4, h: 4, s: 4, o: 4, a: 4 },
  ...{ x: 8, t: 8, d: 8, '(': 8, '{': 8 },
}
/** Deeper than any message of a notification service. */
const MAX_DEPTH = 16

function createReader(bytes: Buffer) {
  const isLittle = bytes[0] === 0x6c
  let at = 0
  const align = (to: number) => {
    at = Math.ceil(at / to) * to
  }
  const skip = (length: number) => {
    at += length
    if (at > bytes.length) throw new RangeError('the message ends too early')
    return at - length
  }
  const number = () => {
    align(4)
    const start = skip(4)
    return isLittle ? bytes.readUInt32LE(start) : bytes.readUInt32BE(start)
  }
  const text = (length: number) => {
    const start = skip(length + 1)
    return bytes.toString('utf8', start, start + length)
  }
  const all = (signature: string, depth = 0): readonly unknown[] => {
    const values: unknown[] = []
    for (const type of typesOf(signature)) values.push(value(type, depth))
    return values
  }
  function value(type: string, depth = 0): unknown {
    if (depth > MAX_DEPTH) throw new RangeError('too deep a message')
    const [first = ''] = type
    const alignment = ALIGNMENT[first]
    if (alignment === undefined) throw new RangeError('an unknown type')
    align(alignment)
    switch (first) {
      case 'y':
        return bytes[skip(1)]
      case 'n':
      case 'q':
        return void skip(2)
      case 'x':
      case 't':
      case 'd':
        return void skip(8)
      case 's':
      case 'o':
        return text(number())
      case 'g':
        return text(bytes[skip(1)] ?? 0)
      case 'v':
        return value(text(bytes[skip(1)] ?? 0), depth + 1)
      case 'a':
        return array(type.slice(1), depth + 1)
      case '(':
      case '{':
        return all(type.slice(1, -1), depth + 1)
      default:
        return number()
    }
  }
  function array(type: string, depth: number): readonly unknown[] {
    const length = number()
    align(ALIGNMENT[type[0] ?? ''] ?? 1)
    const end = at + length
    const values: unknown[] = []
    while (at < end) {
      const before = at
      values.push(value(type, depth))
      if (at === before) throw new RangeError('an array of nothing')
    }
    return values
  }
  return {
    align,
    all,
    value,
    seek(to: number) {
      at = to
    },
  }
}

/** The whole types in a signature: `a(yv)s` has two. Throws `RangeError` for what is none. */
function typesOf(signature: string): readonly string[] {
  const types: string[] = []
  for (let start = 0; start < signature.length; ) {
    let end = start
    while (signature[end] === 'a') end += 1
    let depth = 0
    do {
      const one = signature[end]
      if (one === undefined) throw new RangeError('half a type')
      if (one === '(' || one === '{') depth += 1
      if (one === ')' || one === '}') depth -= 1
      end += 1
    } while (depth > 0)
    types.push(signature.slice(start, end))
    start = end
  }
  return types
}
