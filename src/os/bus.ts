/** A connection to the session bus: calls with a deadline, and signals with the name of their sender. */
import { createConnection, type Socket } from 'node:net'
import { type Clock, SECOND_MS } from '../std/clock.js'
import { type BusCall, type BusMessage, decodeMessage, encodeCall, messageLength } from './bus-message.js'

export interface Bus {
  /** Rejects if the bus or the callee refuses, or does not answer in time. */
  call(call: BusCall): Promise<readonly unknown[]>
  /** A call to the bus itself. */
  ask(member: string, ...names: readonly string[]): Promise<readonly unknown[]>
  /** Called for each signal that a match (`AddMatch`) lets through, until the returned function is called. */
  onSignal(see: (signal: BusMessage) => void): () => void
  /** Resolves when the connection has ended. */
  readonly ended: Promise<void>
  /** For a look at who is at the other end. */
  readonly socket: Socket
  close(): void
}

const DEADLINE_MS = 5 * SECOND_MS
const MAX_WORDS_BYTES = 4096
const BUS = { destination: 'org.freedesktop.DBus', path: '/org/freedesktop/DBus' } as const

/** The file of `unix:path=…`, the first of an address that has one. */
export function busSocket(address: string): string | undefined {
  const paths = address.split(';').flatMap((one) => /^unix:(?:.*,)?path=([^,]+)/.exec(one)?.[1] ?? [])
  return paths[0] === undefined ? undefined : decodeURIComponent(paths[0])
}

/** Rejects if there is no bus at the path, or it does not let us in. */
export async function openBus(path: string, uid: number, clock: Clock): Promise<Bus> {
  const socket = createConnection(path)
  const waiting = new Map<number, (message: BusMessage | undefined) => void>()
  const seers = new Set<(signal: BusMessage) => void>()
  let serial = 0
  const ended = new Promise<void>((resolve) => {
    socket.on('error', () => undefined).on('close', () => resolve())
  })
  void ended.then(() => {
    for (const settle of [...waiting.values()]) settle(undefined)
  })

  function deliver(message: BusMessage): void {
    if (message.kind === 'signal') for (const see of [...seers]) see(message)
    const isReply = message.kind === 'answer' || message.kind === 'error'
    if (isReply && message.answers !== undefined) waiting.get(message.answers)?.(message)
  }

  async function call(wanted: BusCall): Promise<readonly unknown[]> {
    serial += 1
    const mine = serial
    const reply = await new Promise<BusMessage | undefined>((resolve) => {
      const settle = (message: BusMessage | undefined) => {
        timer.cancel()
        waiting.delete(mine)
        resolve(message)
      }
      const timer = clock.after(DEADLINE_MS, () => settle(undefined))
      waiting.set(mine, settle)
      if (socket.destroyed) settle(undefined)
      else socket.write(encodeCall(wanted, mine))
    })
    if (reply?.kind !== 'answer')
      throw new Error(`${wanted.member}: ${String(reply?.body[0] ?? 'no answer from the bus')}`)
    return reply.body
  }

  const ask: Bus['ask'] = (member, ...names) =>
    call({ ...BUS, interface: BUS.destination, member, body: names.map((name) => ['s', name] as const) })

  try {
    await authenticate(socket, uid, clock)
    readMessages(socket, deliver)
    await ask('Hello')
  } catch (error) {
    socket.destroy()
    throw error
  }
  return {
    ...{ call, ask, ended, socket },
    onSignal(see) {
      seers.add(see)
      return () => void seers.delete(see)
    },
    close: () => socket.destroy(),
  }
}

/** SASL EXTERNAL: the kernel says who we are. */
function authenticate(socket: Socket, uid: number, clock: Clock): Promise<void> {
  return new Promise((resolve, reject) => {
    let said = ''
    const fail = () => finish(new Error('the session bus does not let us in'))
    const timer = clock.after(DEADLINE_MS, fail)
    const onData = (bytes: Buffer) => {
      said += bytes.toString('latin1')
      if (said.length > MAX_WORDS_BYTES) return fail()
      if (!said.includes('\r\n')) return
      if (!said.startsWith('OK ')) return fail()
      socket.write('BEGIN\r\n')
      finish()
    }
    function finish(error?: Error): void {
      timer.cancel()
      socket.off('data', onData).off('close', fail)
      if (error === undefined) resolve()
      else reject(error)
    }
    socket.on('data', onData).on('close', fail)
    socket.write(`\0AUTH EXTERNAL ${Buffer.from(String(uid)).toString('hex')}\r\n`)
  })
}

/** What cannot be read ends the connection, and nothing else. */
function readMessages(socket: Socket, deliver: (message: BusMessage) => void): void {
  let held: Buffer = Buffer.alloc(0)
  socket.on('data', (bytes: Buffer) => {
    held = Buffer.concat([held, bytes])
    try {
      for (let length = messageLength(held); length !== undefined; length = messageLength(held)) {
        if (held.length < length) return
        const message = decodeMessage(held.subarray(0, length))
        held = held.subarray(length)
        deliver(message)
      }
    } catch {
      socket.destroy()
    }
  })
}
