/** The state files: ledger, journal and tokens, and their schemas. */

import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { EMPTY_JOURNAL, type Journal, journalOf } from '../keys/journal.js'
import { EMPTY_LEDGER, type Ledger } from '../keys/ledger.js'
import { NO_PORTS, type PortList } from '../login/ports.js'
import { type Document, openDocument } from '../os/document.js'
import type { Clock } from '../std/clock.js'
import type { Log } from '../std/log.js'
import type { TokenList } from '../tokens/issue.js'

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

const keyRecord = z.object({
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
  rejectedAt: at.exactOptional(),
  warned: at.exactOptional(),
})

const profileRecord = z.object({
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
])

export const ledgerSchema: z.ZodType<Ledger> = z.object({
  profiles: byName(profileRecord),
  keys: byName(keyRecord),
  doomed: z.array(text).exactOptional(),
  changes: byName(journalEntry).exactOptional(),
})

/** Of the first version, which kept the journal in a file of its own. */
const journalSchema: z.ZodType<Journal> = z.object({ entries: byName(journalEntry) })

const tokensSchema: z.ZodType<TokenList> = z.object({
  tokens: z.array(
    z.object({
      id: text,
      name: text,
      power: z.enum(['inspect', 'proxy', 'use']),
      profiles: z.array(text),
      createdAt: at,
      expiresAt: at,
      hash: z.string().length(64),
      workspace: z.object({ accountId: text, workspaceId: text }).exactOptional(),
      job: z.object({ pid: at.exactOptional(), process: maybe, idleMs: at }).exactOptional(),
    }),
  ),
  leftAt: at.exactOptional(),
})

const portsSchema: z.ZodType<PortList> = z.object({
  ports: z.array(
    z.object({
      port: z.int().min(1).max(65_535),
      profile: text,
      cloudApiUrl: text,
      uiOrigin: text,
      stateHash: z.string().length(64).exactOptional(),
      until: at,
    }),
  ),
})

export interface State {
  readonly ledger: Document<Ledger>
  readonly journal: Document<Journal>
  readonly tokens: Document<TokenList>
  /** Ports of logins, bound again by the next start. */
  readonly loginPorts: Document<PortList>
  /** What a person should know about how they were opened. */
  readonly notices: readonly string[]
}

/** Rejects as `openDocument` does. Only the holder of the state lock may call this. */
export async function openState({
  stateDir,
  clock,
  log,
}: {
  readonly stateDir: string
  readonly clock: Clock
  readonly log: Log
}): Promise<State> {
  const base = { now: () => clock.now(), log }
  const path = (name: string) => join(stateDir, name)
  const ledger = await openDocument({
    ...base,
    path: path('ledger.json'),
    schema: ledgerSchema,
    empty: EMPTY_LEDGER,
  })
  const oldJournal = await takeOverJournal(base, path('journal.json'), ledger)
  const tokens = await openDocument({
    ...base,
    path: path('tokens.json'),
    schema: tokensSchema,
    empty: { tokens: [] },
  })
  const loginPorts = await openDocument({
    ...base,
    path: path('login-ports.json'),
    schema: portsSchema,
    empty: NO_PORTS,
  })
  const notices = [ledger.notice, oldJournal, tokens.notice, loginPorts.notice].flatMap(
    (notice) => notice ?? [],
  )
  return { ledger, journal: journalOf(ledger), tokens, loginPorts, notices }
}

/** Moves the entries of a journal file into the ledger, durably, before the file goes. Returns what a person should know. */
async function takeOverJournal(
  base: Pick<Parameters<typeof openDocument>[0], 'now' | 'log'>,
  path: string,
  ledger: Document<Ledger>,
): Promise<string | undefined> {
  const old = await openDocument({ ...base, path, schema: journalSchema, empty: EMPTY_JOURNAL })
  const { entries } = old.read()
  if (Object.keys(entries).length > 0) {
    await ledger.update((current) => ({ ...current, changes: { ...entries, ...current.changes } }))
  }
  for (const file of [path, `${path}.previous`]) await rm(file, { force: true })
  return old.notice
}
