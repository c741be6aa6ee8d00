/** The state files: ledger and tokens, their schemas, and how they are opened, taken over and closed. */

import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import type { BrokerError } from '../base/errors.js'
import { type Journal, journalOf } from '../keys/journal.js'
import { EMPTY_LEDGER, type Ledger } from '../keys/ledger.js'
import { sweepTemporaryFiles } from '../os/atomic-file.js'
import { findDiskTrouble } from '../os/disk.js'
import { type Document, type NotedDocument, openDocument, readDocument } from '../os/document.js'
import { isObject } from '../os/records.js'
import type { Clock } from '../std/clock.js'
import type { Log } from '../std/log.js'
import type { TokenList } from '../tokens/issue.js'
import { markVaultChoice } from '../vault/choice.js'
import { bringUpToDate, type OldJournal } from './bring-up.js'
import { createCleanEnd } from './clean-end.js'
import { createPermit, type LateLock } from './late-lock.js'

const text = z.string().max(10_000)
const maybe = text.exactOptional()
const at = z.number()

const owner = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('user'), id: text, handle: text, email: maybe }),
  z.object({ kind: z.literal('service_account'), id: text, handle: text }),
])

const workspace = z.object({
  accountId: text,
  accountHandle: text,
  accountName: maybe,
  workspaceId: text,
  workspaceHandle: text,
  workspaceName: maybe,
})

const keyRecord = z.looseObject({
  item: text,
  profile: text,
  cloudApiUrl: text,
  fingerprint: text,
  origin: z.enum(['browser', 'pasted', 'minted', 'service_account', 'profile']),
  cloudId: maybe,
  userId: maybe,
  name: maybe,
  issuedAt: at,
  expiresAt: at.exactOptional(),
  isExpiryAssumed: z.boolean().exactOptional(),
  handedOut: z.boolean(),
  retiredAt: at.exactOptional(),
  doubt: z.object({ since: at, last: at, refusals: z.int().min(1) }).exactOptional(),
  rejectedAt: at.exactOptional(),
  warned: at.exactOptional(),
})

const profileRecord = z.looseObject({
  currentItem: maybe,
  authItem: maybe,
  owner: owner.exactOptional(),
  workspaces: z.array(workspace),
  generation: z.int().min(0),
  digest: text,
  exchangeRefused: maybe,
  lastRenewal: z
    .object({ at, outcome: z.enum(['done', 'failed']), code: maybe, message: maybe })
    .exactOptional(),
})

/** Like `z.record`, which drops a key named `__proto__`: a profile may have that name. */
function byName<T>(value: z.ZodType<T>): z.ZodType<Readonly<Record<string, T>>> {
  return z
    .custom<object>((input) => typeof input === 'object' && input !== null)
    .transform((input, context) => {
      const entries: [string, T][] = []
      for (const [name, found] of Object.entries(input)) {
        const parsed = value.safeParse(found)
        if (parsed.success) entries.push([name, parsed.data])
        else context.addIssue({ code: 'custom', message: `the entry '${name}' is invalid` })
      }
      return Object.fromEntries(entries)
    })
}

const undoEdit = z.discriminatedUnion('kind', [
  z.object({
    kind: z.literal('set'),
    name: text,
    settings: z.record(z.string(), text.nullable()),
    keyItem: maybe,
  }),
  z.object({ kind: z.literal('delete'), name: text }),
  z.object({ kind: z.literal('rename'), name: text, to: text }),
  z.object({ kind: z.literal('set_active'), name: text }),
])

const journalEntry = z.discriminatedUnion('kind', [
  z.object({
    kind: z.literal('rotation'),
    id: text,
    profile: text,
    step: z.enum(['intended', 'stored', 'lost']),
    item: text,
    oldItem: text,
    keyName: text,
    userId: text,
    cloudApiUrl: text,
    startedAt: at,
    cloudId: maybe,
  }),
  z.object({
    kind: z.literal('service_account'),
    id: text,
    profile: text,
    item: text,
    oldItem: maybe,
    accountId: text,
    name: text,
    cloudApiUrl: text,
    startedAt: at,
  }),
  z.object({ kind: z.literal('rename'), id: text, profile: text, to: text }),
  z.object({
    kind: z.literal('login'),
    id: text,
    profile: text,
    item: text,
    owner,
    workspaces: z.array(workspace),
    apiUrl: text,
    isToBeActive: z.boolean(),
  }),
  z.object({
    kind: z.literal('change'),
    id: text,
    profile: text,
    act: text,
    step: z.enum(['intended', 'committed']),
    decidedBy: z.enum(['ledger', 'file']),
    startedAt: at,
    tables: z.array(
      z.object({
        profile: text,
        found: text.nullable(),
        written: text.nullable(),
        item: maybe,
        generation: z.int().min(0),
      }),
    ),
    undo: z.array(undoEdit),
    created: z.array(text),
    keys: z.array(z.object({ item: text, profile: maybe })),
    outcome: z.object({
      forget: z.object({ profile: text, items: z.array(text) }).exactOptional(),
      auth: z.object({ profile: text, item: maybe }).exactOptional(),
      revoke: z.boolean().exactOptional(),
    }),
  }),
])

export const ledgerSchema: z.ZodType<Ledger> = z.object({
  profiles: byName(profileRecord),
  keys: byName(keyRecord),
  doomed: z.array(text).exactOptional(),
  changes: byName(journalEntry).exactOptional(),
})

/** Of the first version, which kept the journal in a file of its own. */
const journalSchema: z.ZodType<Journal> = z.object({ entries: byName(journalEntry) })

const tokenRecord = z.looseObject({
  id: text,
  name: text,
  power: z.enum(['inspect', 'proxy', 'use']),
  profiles: z.array(text),
  createdAt: at,
  expiresAt: at,
  hash: z.string().length(64),
  workspace: z.object({ accountId: text, workspaceId: text }).exactOptional(),
  parkedAt: at.exactOptional(),
  job: z.object({ pid: at.exactOptional(), process: maybe, idleMs: at }).exactOptional(),
})

const tokensSchema: z.ZodType<TokenList> = z.object({
  tokens: z.array(tokenRecord),
  leftAt: at.exactOptional(),
})

/** The generation must never go back, and the key must be found again, even if the rest is not understood. */
function salvageProfile(raw: unknown): unknown {
  if (!isObject(raw)) return undefined
  const kept = Object.entries(profileRecord.shape).filter(
    ([name, schema]) => schema.safeParse(raw[name]).success,
  )
  const fields = Object.fromEntries(kept.flatMap(([name]) => (name in raw ? [[name, raw[name]]] : [])))
  return { workspaces: [], generation: 0, digest: '', ...fields }
}

/** Of ledger.json and tokens.json. 1: without a format, the journal in a file of its own. */
const FORMAT = 2

export interface State {
  readonly ledger: NotedDocument<Ledger>
  readonly journal: Document<Journal>
  readonly tokens: NotedDocument<TokenList>
  /** What a person should know about how they were opened. */
  readonly notices: readonly string[]
  /** Why the disk does not have what memory has. */
  trouble(): BrokerError | undefined
  /** Calls back when trouble begins or ends, and at once if there is any. */
  onTrouble(listener: (trouble: BrokerError | undefined) => void): void
  /** Writes what the disk lacks. Never rejects. */
  retry(): Promise<void>
  /** Marks a clean end, if the disk has everything. Nothing may be handed out after it. Never rejects. */
  close(): Promise<void>
}

export interface StateOptions {
  readonly stateDir: string
  readonly clock: Clock
  readonly log: Log
  /** A file outside the state directory: see `createCleanEnd`. */
  readonly trace?: string
  /** Nothing is written while it is not held. Default: it is held. */
  readonly lock?: Pick<LateLock, 'permit' | 'retry'>
}

const HELD: Pick<LateLock, 'permit' | 'retry'> = { permit: () => undefined, retry: async () => false }

/** Rejects as `openDocument` does. Only the holder of the state lock writes. */
export async function openState({ stateDir, clock, log, trace, lock = HELD }: StateOptions): Promise<State> {
  const permit = createPermit(lock)
  if (permit.isGiven()) await sweep(stateDir)
  let disk = await findDiskTrouble(stateDir)
  const { listen, onProblem } = createTroubleSignal(() => trouble())
  const base = { now: () => clock.now(), log, permit: permit.require, format: FORMAT, onProblem }
  const path = (name: string) => join(stateDir, name)
  const ledger = await openDocument({
    ...base,
    path: path('ledger.json'),
    schema: ledgerSchema,
    records: {
      profiles: { schema: profileRecord, salvage: salvageProfile },
      keys: { schema: keyRecord },
      changes: { schema: journalEntry },
    },
    empty: EMPTY_LEDGER,
  })
  const tokens = await openDocument<TokenList>({
    ...base,
    path: path('tokens.json'),
    schema: tokensSchema,
    records: { tokens: { schema: tokenRecord } },
    empty: { tokens: [] },
  })
  if (ledger.format === 1 || tokens.format === 1) await markVaultChoice(stateDir, log)
  const end = createCleanEnd(stateDir, log, trace)
  const oldPath = path('journal.json')
  const oldJournal = await readOldJournal(base, oldPath, ledger.format)
  const begun = await bringUpToDate(ledger, oldJournal, await end.take(ledger.seq()))
  if (begun.isDurable) {
    for (const file of [oldPath, `${oldPath}.previous`])
      await rm(file, { force: true }).catch(() => undefined)
  }
  if (tokens.format === 1) await tokens.note((list) => ({ ...list }))
  const trouble = () => ledger.problem() ?? tokens.problem() ?? disk
  const retry = async () => {
    if (await permit.retry()) {
      if ((await ledger.isOurs()) && (await tokens.isOurs())) await sweep(stateDir)
      else permit.withdraw(stateDir)
    }
    disk = await findDiskTrouble(stateDir)
    await ledger.retry()
    await tokens.retry()
    onProblem()
  }
  return {
    ledger,
    journal: journalOf(ledger),
    tokens,
    notices: [...ledger.notices, ...begun.notices, ...tokens.notices],
    trouble,
    onTrouble: listen,
    retry,
    async close() {
      await retry()
      if (ledger.problem() !== undefined || tokens.problem() !== undefined || !permit.isGiven()) return
      await end.leave(ledger.seq()).catch((error: unknown) => log.warn({ error }, 'clean end not marked'))
    },
  }
}

/** Tells listeners once when trouble begins, and once when it ends. */
function createTroubleSignal(trouble: () => BrokerError | undefined) {
  const listeners = new Set<(trouble: BrokerError | undefined) => void>()
  let isTold = false
  const onProblem = () => {
    const found = trouble()
    if ((found !== undefined) === isTold) return
    isTold = !isTold
    for (const listener of listeners) listener(found)
  }
  return {
    onProblem,
    listen(listener: (trouble: BrokerError | undefined) => void) {
      listeners.add(listener)
      isTold = trouble() !== undefined
      if (isTold) listener(trouble())
    },
  }
}

/** Files that killed writers left. They may hold keys. */
async function sweep(stateDir: string): Promise<void> {
  await sweepTemporaryFiles(stateDir)
  await sweepTemporaryFiles(join(stateDir, 'vault'))
}

/** Beside a ledger that has a format, whatever is left of it was taken over before. */
async function readOldJournal(
  base: Pick<Parameters<typeof readDocument>[0], 'now' | 'log' | 'permit' | 'format'>,
  path: string,
  format = 1,
): Promise<OldJournal> {
  if (format !== 1) return undefined
  return readDocument<Journal>({
    ...base,
    path,
    schema: journalSchema,
    records: { entries: { schema: journalEntry } },
    empty: { entries: {} },
  })
}
