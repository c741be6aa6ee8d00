/** Issues, recognises, ages and revokes narrow tokens. */

import type { NotedDocument } from '../os/document.js'
import { type Clock, DAY_MS, HOUR_MS, MINUTE_MS } from '../std/clock.js'
import { defined } from '../std/defined.js'
import { Secret, sha256Hex } from '../std/secret.js'
import { createSpending } from './budget.js'
import { deriveToken } from './derive.js'
import { parked, revokedInMemory, unknownToken } from './flaws.js'
import {
  createIndex,
  type Entry,
  isEqual,
  powerOf,
  recordPower,
  type TokenList,
  type TokenRecord,
  withRoom,
} from './records.js'
import { createRefusals } from './refusals.js'
import type { KnownToken, TokenFacts, Tokens } from './tokens.js'

type Wanted = Omit<TokenRecord, 'id' | 'hash' | 'ticketHash' | 'createdAt'>

interface TokenParts {
  readonly document: NotedDocument<TokenList>
  readonly clock: Clock
  /** 32 random bytes as 43 characters of base64url. */
  readonly randomToken: () => string
  readonly newId: () => string
  /** What the tokens of environments are derived from; rejects as the vault does. Absent: they end with this daemon. */
  readonly loadSecret?: () => Promise<Secret>
  /** Names a running process so that a later one with the same pid has another name; `undefined` if it is not running. */
  readonly identifyProcess?: (pid: number) => Promise<string | undefined>
}

const PREFIX = 'pab_'
const LENGTH = PREFIX.length + 43

/** What counts is time without use while the daemon is awake. */
const IDLE_WITH_JOB_MS = 14 * DAY_MS
const IDLE_WITHOUT_JOB_MS = DAY_MS
/**
 * A daemon that exits when idle is woken once an hour. If more time has passed since it exited, the machine was asleep or off
 * for the rest, and so were the jobs.
 */
const MOST_AWAY_MS = 70 * MINUTE_MS
/** How much of a job token's age a crash may lose. */
const WRITE_AGE_MS = HOUR_MS

export function createTokens({
  document,
  clock,
  randomToken,
  newId,
  loadSecret = keepInMemory(new Secret(randomToken())),
  identifyProcess = async () => undefined,
}: TokenParts): Tokens {
  const lastUsed = new Map<string, number>()
  const digests = new WeakMap<object, string>()
  /** Milliseconds without use, if that differs from the record. */
  const idle = new Map<string, number>()
  const index = createIndex()
  const refusals = createRefusals(clock)
  const spending = createSpending(clock)
  let unwrittenMs = 0
  let isUnclean = false
  let agedAt = clock.monotonic()

  const idleMs = ({ id, job }: TokenRecord) => idle.get(id) ?? job?.idleMs ?? 0
  const isActive = (record: TokenRecord) =>
    record.job === undefined ? record.expiresAt > clock.now() : idleMs(record) < IDLE_WITH_JOB_MS
  const ages = { isActive, idleMs }
  const jobs = () => document.read().tokens.filter(({ job }) => job !== undefined)

  function touch({ id, job }: TokenRecord): void {
    lastUsed.set(id, Math.floor(clock.now() / MINUTE_MS) * MINUTE_MS)
    if (job !== undefined) idle.set(id, 0)
  }

  function welcome(found: Entry | undefined): KnownToken | undefined {
    if (found === undefined || !isActive(found.record)) return undefined
    if (found.record.parkedAt !== undefined) throw parked(found.record)
    touch(found.record)
    return found.known
  }

  function factsOf(record: TokenRecord): TokenFacts {
    const { hash: _, ticketHash: __, environment: ___, writes: ____, job, power, ...rest } = record
    const { id } = record
    const changing = {
      lastUsedAt: lastUsed.get(id),
      refused: refusals.of(record),
      used: spending.used(record),
    }
    const facts = { ...rest, power: powerOf(power), ...defined(changing) }
    if (job === undefined) return facts
    return {
      ...facts,
      isJob: true,
      ...defined({ isAgent: job.isAgent }),
      expiresAt: clock.now() + IDLE_WITH_JOB_MS - idleMs(record),
    }
  }

  function recordOf(wanted: Wanted, id: string, token: string, ticket?: string): TokenRecord {
    const hashes = { hash: sha256Hex(token), ...defined({ ticketHash: ticket && sha256Hex(ticket) }) }
    return { ...wanted, id, createdAt: clock.now(), ...hashes }
  }

  async function add(wanted: Wanted, ticket?: string) {
    const token = `${PREFIX}${randomToken()}`
    const record = recordOf(wanted, newId(), token, ticket)
    // A job must be able to start while the disk fails. What lives for a fixed time must outlive this daemon.
    const isDurable = await (wanted.job === undefined ? change : document.note)((list) =>
      withRoom(list, record, ages),
    )
    return { facts: factsOf(record), token, isDurable, ...defined({ ticket }) }
  }

  async function change(to: (list: TokenList) => TokenList): Promise<true> {
    await document.update(to)
    return true
  }

  function grow(ms: number): void {
    agedAt = clock.monotonic()
    unwrittenMs += ms
    for (const record of jobs()) idle.set(record.id, idleMs(record) + ms)
  }

  async function writeAges(over: ReadonlySet<string>, leftAt?: number): Promise<void> {
    unwrittenMs = 0
    await document.note(({ tokens }) => ({
      ...defined({ leftAt }),
      tokens: spending
        .into(refusals.into(tokens.filter(({ id }) => !over.has(id))))
        .map((record) =>
          record.job === undefined ? record : { ...record, job: { ...record.job, idleMs: idleMs(record) } },
        ),
    }))
  }

  /** Whether the process of a job has ended is checked only after a day without use, not at every tick. */
  async function findOver(): Promise<ReadonlySet<string>> {
    const over = new Set<string>()
    for (const record of jobs()) {
      const ms = idleMs(record)
      if (ms < IDLE_WITHOUT_JOB_MS) continue
      const { pid, process } = record.job ?? {}
      const isGone = pid !== undefined && (await identifyProcess(pid)) !== process
      if (isGone || ms >= IDLE_WITH_JOB_MS) over.add(record.id)
    }
    return over
  }

  return {
    create: async ({ lifeMs, power, ...wanted }) =>
      add({ ...wanted, power: recordPower(power, wanted), expiresAt: clock.now() + lifeMs }),
    async createForJob({ name, profile, workspace, pid, needsTicket = false, isAgent = false, ...limits }) {
      const process = pid === undefined ? undefined : await identifyProcess(pid)
      const wanted = {
        ...{ name, power: recordPower('proxy', limits), profiles: [profile] },
        expiresAt: clock.now() + IDLE_WITH_JOB_MS,
        ...defined({ workspace, ...limits }),
        job: {
          idleMs: 0,
          ...(process === undefined ? {} : defined({ pid, process })),
          ...(isAgent ? { isAgent } : {}),
        },
      }
      return add(wanted, needsTicket ? randomToken() : undefined)
    },
    async shareInEnvironment({ name, environment, profile, workspace, needsTicket = false }) {
      const secret = await loadSecret()
      const tokenOf = (id: string) => `${PREFIX}${deriveToken(secret, [id, environment, profile])}`
      const ticketOf = (id: string) =>
        needsTicket ? deriveToken(secret, [id, environment, profile, 'ticket']) : undefined
      const rest = { power: 'proxy', profiles: [profile], expiresAt: clock.now() + IDLE_WITH_JOB_MS } as const
      const wanted = { name, environment, ...rest, job: { idleMs: 0 }, ...defined({ workspace }) }
      const id = newId()
      const fresh = recordOf(wanted, id, tokenOf(id), ticketOf(id))
      const isSame = (one: TokenRecord) =>
        one.environment === environment &&
        one.profiles.includes(profile) &&
        one.workspace?.workspaceId === workspace?.workspaceId &&
        one.parkedAt === undefined &&
        isActive(one) &&
        (one.ticketHash !== undefined) === needsTicket &&
        // Not after the vault lost the secret.
        isEqual(one.hash, sha256Hex(tokenOf(one.id)))
      let record: TokenRecord = fresh
      // Looked for where it would be added: of two processes that start at once the second gets the token of the first.
      const isDurable = await document.note((list) => {
        record = list.tokens.find(isSame) ?? fresh
        return record === fresh ? withRoom(list, fresh, ages) : list
      })
      touch(record)
      const given = { token: tokenOf(record.id), ...defined({ ticket: ticketOf(record.id) }) }
      return { facts: factsOf(record), ...given, isDurable, isNew: record === fresh }
    },
    list: () => document.read().tokens.filter(isActive).map(factsOf),
    async revoke(id) {
      if (!document.read().tokens.some((token) => token.id === id)) {
        throw unknownToken(id)
      }
      const isDurable = await document.note(({ tokens }) => ({
        tokens: tokens.filter((token) => token.id !== id),
      }))
      lastUsed.delete(id)
      idle.delete(id)
      if (!isDurable) throw revokedInMemory(id)
    },
    async parkJobs() {
      const open = jobs().filter(({ parkedAt }) => parkedAt === undefined)
      if (open.length === 0) return 0
      const parkedAt = clock.now()
      await document.update((list) => ({
        ...list,
        tokens: list.tokens.map((record) => (record.job === undefined ? record : { parkedAt, ...record })),
      }))
      return open.length
    },
    async keep(id) {
      const kept = document.read().tokens.filter((token) => (id === undefined ? true : token.id === id))
      if (id !== undefined && !kept.some(isActive)) throw unknownToken(id)
      await document.update((list) => ({
        ...list,
        tokens: list.tokens.map((record) => (kept.includes(record) ? unparked(record) : record)),
      }))
      return kept
        .filter((record) => isActive(record) && record.parkedAt !== undefined)
        .map(unparked)
        .map(factsOf)
    },
    endedUnclean: () => isUnclean,
    recognise(presented, head) {
      if (presented.length !== LENGTH || !presented.startsWith(PREFIX)) return undefined
      const digest = (head && digests.get(head)) ?? sha256Hex(presented)
      if (head !== undefined) digests.set(head, digest)
      return welcome(index(document.read()).token(digest))
    },
    recogniseTicket: (presented) => welcome(index(document.read()).ticket(sha256Hex(presented))),
    use(id) {
      const found = index(document.read()).byId(id)
      if (found === undefined || !isActive(found)) return false
      touch(found)
      return true
    },
    spend(id, isWrite) {
      const found = index(document.read()).byId(id)
      return found === undefined ? () => undefined : spending.spend(found, isWrite)
    },
    agents() {
      const entries = index(document.read()).agents()
      return entries.length === 0
        ? []
        : entries.filter(({ record }) => isActive(record)).map(({ known }) => known)
    },
    noteRefused(id, operation, by) {
      const record = document.read().tokens.find((token) => token.id === id)
      if (record !== undefined) refusals.note(record, operation, by)
    },
    async age(ms) {
      grow(ms)
      const over = await findOver()
      const isAgeDue = unwrittenMs >= WRITE_AGE_MS && jobs().length > 0
      if (over.size === 0 && !isAgeDue && !refusals.isDue() && !spending.isDue()) return
      await writeAges(over)
      for (const id of over) idle.delete(id)
    },
    async resume() {
      const { leftAt } = document.read()
      isUnclean = leftAt === undefined && jobs().length > 0
      if (leftAt === undefined) return
      grow(Math.min(Math.max(clock.now() - leftAt, 0), MOST_AWAY_MS))
      await writeAges(await findOver())
    },
    async close() {
      if (jobs().length === 0) {
        if (refusals.isUnwritten() || spending.isUnwritten()) await writeAges(new Set())
        return
      }
      grow(clock.monotonic() - agedAt)
      await writeAges(new Set(), clock.now())
    },
  }
}

const keepInMemory = (secret: Secret) => async () => secret

function unparked({ parkedAt: _, ...record }: TokenRecord): TokenRecord {
  return record
}
