/** Makes, recognises and revokes narrow tokens. What is kept is a hash; what is compared are hashes, in constant time. */

import { BrokerError } from '../base/errors.js'
import type { Document } from '../os/document.js'
import type { Clock } from '../std/clock.js'
import { defined } from '../std/defined.js'
import { sha256Hex } from '../std/secret.js'
import { IDLE_WITH_JOB_MS, isJobOver, type JobRecord, surplus } from './jobs.js'
import type { KnownToken, TokenFacts, Tokens } from './tokens.js'

interface TokenRecord extends Omit<TokenFacts, 'lastUsedAt' | 'isJob'> {
  /** SHA-256 of the token, hex. A token has 256 random bits: a plain hash can't be searched. */
  readonly hash: string
  readonly job?: JobRecord
}

export interface TokenList {
  readonly tokens: readonly TokenRecord[]
  /** When the daemon that wrote this ended, epoch ms; absent: it ran on. */
  readonly leftAt?: number
}

interface IssueTokensDeps {
  readonly document: Document<TokenList>
  readonly clock: Clock
  /** 32 random bytes as 43 characters of base64url. */
  readonly randomToken: () => string
  readonly newId: () => string
  /** Names a running process, so that a later one of the same pid has another name; `undefined`: it is not running. */
  readonly identifyProcess?: (pid: number) => Promise<string | undefined>
}

const PREFIX = 'pab_'
const LENGTH = PREFIX.length + 43
/**
 * A daemon that leaves when idle is woken once an hour: what is more than that between two of them the machine was asleep,
 * or off, and jobs with it.
 */
const MOST_AWAY_MS = 70 * 60_000
/** How much of a job token's age may be forgotten by a crash. */
const WRITE_AGE_MS = 3_600_000

export function createTokens(deps: IssueTokensDeps): Tokens {
  const { document, clock } = deps
  const lastUsed = new Map<string, number>()
  /** Ms without use since the age was last written down; a use writes down zero. */
  const idle = new Map<string, number>()
  const byHash = createIndex()
  let unwrittenMs = 0
  let agedAt = clock.monotonic()

  const idleMs = ({ id, job }: TokenRecord) => idle.get(id) ?? job?.idleMs ?? 0
  const isAlive = (record: TokenRecord) =>
    record.job === undefined ? record.expiresAt > clock.now() : idleMs(record) < IDLE_WITH_JOB_MS
  const touch = ({ id, job }: TokenRecord) => {
    lastUsed.set(id, Math.floor(clock.now() / 60_000) * 60_000)
    if (job !== undefined) idle.set(id, 0)
  }
  const facts = (record: TokenRecord): TokenFacts => {
    const { hash: _, job, ...rest } = record
    const lastUsedAt = lastUsed.get(record.id)
    return {
      ...rest,
      ...defined({ lastUsedAt }),
      ...(job === undefined
        ? {}
        : { isJob: true, expiresAt: clock.now() + IDLE_WITH_JOB_MS - idleMs(record) }),
    }
  }
  const keep = async (wanted: Omit<TokenRecord, 'id' | 'hash' | 'createdAt'>) => {
    const token = `${PREFIX}${deps.randomToken()}`
    const record = { ...wanted, id: deps.newId(), createdAt: clock.now(), hash: sha256Hex(token) }
    await document.update(({ tokens }) => {
      // Dead ones leave when a new one comes: the list stays as long as it must be.
      const alive = tokens.filter(isAlive)
      const jobs = wanted.job === undefined ? [] : alive.filter(({ job }) => job !== undefined)
      const leaving = surplus(jobs, idleMs)
      return { tokens: [...alive.filter((one) => !leaving.includes(one)), record] }
    })
    return { facts: facts(record), token }
  }

  const jobs = () => document.read().tokens.filter(({ job }) => job !== undefined)
  const grow = (ms: number) => {
    agedAt = clock.monotonic()
    unwrittenMs += ms
    for (const record of jobs()) idle.set(record.id, idleMs(record) + ms)
  }
  const writeAges = async (over: ReadonlySet<string>, leftAt?: number) => {
    unwrittenMs = 0
    await document.update(({ tokens }) => ({
      ...defined({ leftAt }),
      tokens: tokens
        .filter(({ id }) => !over.has(id))
        .map((record) =>
          record.job === undefined ? record : { ...record, job: { ...record.job, idleMs: idleMs(record) } },
        ),
    }))
  }

  return {
    create: ({ lifeMs, ...wanted }) => keep({ ...wanted, expiresAt: clock.now() + lifeMs }),
    async createForJob({ name, profile, workspace, pid }) {
      const process = pid === undefined ? undefined : await deps.identifyProcess?.(pid)
      return keep({
        name,
        power: 'proxy',
        profiles: [profile],
        expiresAt: clock.now() + IDLE_WITH_JOB_MS,
        ...defined({ workspace }),
        job: {
          idleMs: 0,
          ...(pid === undefined || process === undefined ? {} : { pid, process }),
        },
      })
    },
    list: () => document.read().tokens.filter(isAlive).map(facts),
    async revoke(id) {
      if (!document.read().tokens.some((token) => token.id === id && isAlive(token))) {
        throw new BrokerError('token_not_found', `there is no token '${id}'`, {
          hint: 'prefect-auth token ls',
        })
      }
      await document.update(({ tokens }) => ({ tokens: tokens.filter((token) => token.id !== id) }))
      lastUsed.delete(id)
      idle.delete(id)
    },
    recognise(presented) {
      if (presented.length !== LENGTH || !presented.startsWith(PREFIX)) return undefined
      const hash = sha256Hex(presented)
      const found = byHash(document.read(), hash)
      if (found === undefined || !isEqual(found.record.hash, hash) || !isAlive(found.record)) return undefined
      touch(found.record)
      return found.known
    },
    use(id) {
      const found = document.read().tokens.find((token) => token.id === id)
      if (found === undefined || !isAlive(found)) return false
      touch(found)
      return true
    },
    async age(ms) {
      grow(ms)
      const over = await overIds(jobs(), idleMs, deps)
      if (over.size === 0 && (unwrittenMs < WRITE_AGE_MS || jobs().length === 0)) return
      await writeAges(over)
      for (const id of over) idle.delete(id)
    },
    async resume() {
      const { leftAt } = document.read()
      if (leftAt === undefined) return
      grow(Math.min(Math.max(clock.now() - leftAt, 0), MOST_AWAY_MS))
      await writeAges(await overIds(jobs(), idleMs, deps))
    },
    async close() {
      if (jobs().length === 0) return
      grow(clock.monotonic() - agedAt)
      await writeAges(new Set(), clock.now())
    },
  }
}

/** Jobs whose process is gone are asked for after a day, not at every tick. */
async function overIds(
  jobs: readonly TokenRecord[],
  idleMs: (record: TokenRecord) => number,
  { identifyProcess }: IssueTokensDeps,
): Promise<ReadonlySet<string>> {
  const over = new Set<string>()
  for (const record of jobs) {
    const idle = idleMs(record)
    if (!isJobOver({ idleMs: idle, isGone: true })) continue
    const { pid, process } = record.job ?? {}
    const isGone = pid !== undefined && (await identifyProcess?.(pid)) !== process
    if (isJobOver({ idleMs: idle, isGone })) over.add(record.id)
  }
  return over
}

/**
 * By hash, made anew when the list has changed. What is looked up is the hash of what was presented: its timing tells
 * nothing that anybody could turn into a token.
 */
function createIndex(): (list: TokenList, hash: string) => Entry | undefined {
  let of: TokenList | undefined
  let entries = new Map<string, Entry>()
  return (list, hash) => {
    if (list !== of) {
      entries = new Map(list.tokens.map((record) => [record.hash, { record, known: knownOf(record) }]))
      of = list
    }
    return entries.get(hash)
  }
}

interface Entry {
  readonly record: TokenRecord
  readonly known: KnownToken
}

function knownOf({ id, name, power, profiles, workspace, job }: TokenRecord): KnownToken {
  return {
    id,
    name,
    power,
    profiles,
    ...defined({ workspace }),
    ...(job === undefined ? {} : { isJob: true }),
  }
}

/** Compares two hashes of one length without telling where they differ. */
function isEqual(one: string, other: string): boolean {
  if (one.length !== other.length) return false
  let difference = 0
  for (let index = 0; index < one.length; index += 1)
    difference |= one.charCodeAt(index) ^ other.charCodeAt(index)
  return difference === 0
}
