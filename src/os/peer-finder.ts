/** Finds the process at the other end of a local connection, with its ancestors, also from inside of the service's sandbox. */
import { lstat } from 'node:fs/promises'
import type { Socket } from 'node:net'
import { z } from 'zod'
import { type Clock, SECOND_MS } from '../std/clock.js'
import { inodeOf, parseTcpPeer, parseUnixPeer, type SocketOwner, SS, SS_ARGS } from './callers.js'
import { isAlive, type Peer, peerSchema, readPeer, unknownPeer } from './peer.js'
import { findExecutable, runProgram } from './run-program.js'
import { askSocket } from './sockets.js'

/** `undefined` if this system tells nothing of the kind. Never rejects. */
export type FindPeer = (socket: Socket) => Promise<Peer | undefined>

const questionSchema = z.union([
  /** Of our end of a unix socket. */
  z.strictObject({ inode: z.string().regex(/^\d+$/), boundTo: z.string().optional() }),
  z.strictObject({ ourPort: z.int(), theirPort: z.int() }),
  z.strictObject({ pid: z.int() }),
])

type PeerQuestion = z.infer<typeof questionSchema>

/** A look takes two runs of `ss`; a busy machine may need that long. */
const ANSWER_MS = 5 * SECOND_MS
const RUN_MS = 2 * SECOND_MS
const ATTEMPTS = 2

/**
 * `helper`: the socket on which the service manager starts a program outside our sandbox, which looks for us. It must be ours
 * (`uid`); if there is none, we look.
 */
export function createFindPeer(parts: LookParts): FindPeer {
  const look = createLook(parts)
  return async (socket) => {
    if (parts.platform !== 'linux') return undefined
    const question = await questionOf(socket).catch(() => undefined)
    return question === undefined ? unknownPeer('a program that has ended') : look(question)
  }
}

interface LookParts {
  readonly clock: Clock
  readonly platform: NodeJS.Platform
  readonly helper?: string
  readonly uid?: number | undefined
}

/** As `createFindPeer`, for whatever may be asked. */
export function createLook({ clock, platform, helper, uid }: LookParts): Look {
  return async (question) => {
    if (platform !== 'linux') return undefined
    try {
      return (await askHelper(helper, uid, question)) ?? (await lookForPeer(question, clock))
    } catch {
      return undefined
    }
  }
}

export type Look = (question: PeerQuestion) => Promise<Peer | undefined>

async function questionOf(socket: Socket): Promise<PeerQuestion | undefined> {
  const { localPort: ourPort, remotePort: theirPort } = socket
  if (ourPort !== undefined && theirPort !== undefined) return { ourPort, theirPort }
  const inode = await inodeOf(socket)
  return inode === undefined ? undefined : { inode }
}

async function askHelper(
  helper: string | undefined,
  uid: number | undefined,
  question: PeerQuestion,
): Promise<Peer | undefined> {
  if (helper === undefined) return undefined
  const found = await lstat(helper).catch(() => undefined)
  if (found?.isSocket() !== true || found.uid !== uid) return undefined
  const text = await askSocket(helper, `${JSON.stringify(question)}\n`, ANSWER_MS)
  return text === undefined ? undefined : peerSchema.safeParse(parseJson(text)).data
}

/** The answer to one line of JSON, as one line of JSON. */
export async function answerPeerQuestion(line: string, clock: Clock): Promise<string> {
  const { data } = questionSchema.safeParse(parseJson(line))
  return `${JSON.stringify(data === undefined ? {} : await lookForPeer(data, clock))}\n`
}

/** Never rejects. The process had the connection before and after the look, and nobody else had. */
async function lookForPeer(question: PeerQuestion, clock: Clock): Promise<Peer> {
  if ('pid' in question) return readPeer(question.pid)
  for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
    const before = await findOwner(question, clock)
    if (before?.pid === undefined)
      return unknownPeer(before?.uid === undefined ? 'unknown' : `user ${before.uid}`)
    if (before.isShared === true) return unknownPeer('several programs that share a connection')
    const peer = await readPeer(before.pid)
    const after = await findOwner(question, clock)
    const [self] = peer.chain
    const isSame = after?.pid === before.pid && after.isShared !== true
    if (isSame && self !== undefined && (await isAlive(self))) return peer
  }
  return unknownPeer('a program that has ended')
}

async function findOwner(
  question: Exclude<PeerQuestion, { pid: number }>,
  clock: Clock,
): Promise<SocketOwner | undefined> {
  const file = await findExecutable(SS)
  if (file === undefined) return undefined
  const call = { file, args: SS_ARGS, env: { LC_ALL: 'C' }, deadlineMs: RUN_MS }
  const result = await runProgram(call, clock)
  if (result.kind !== 'exited') return undefined
  return 'inode' in question
    ? parseUnixPeer(result.stdout, question.inode, question.boundTo)
    : parseTcpPeer(result.stdout, question.ourPort, question.theirPort)
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
