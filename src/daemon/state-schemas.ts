/** What the state files hold: their schemas, and what is left of a record that is not understood. */

import { z } from 'zod'
import type { FileList } from '../files/files.js'
import type { Journal } from '../keys/journal.js'
import type { Ledger } from '../keys/ledger.js'
import type { PortList } from '../login/ports.js'
import { isObject } from '../os/records.js'
import type { TokenList } from '../tokens/records.js'
import { FILE_CONTENTS } from '../wire/kinds.js'
import { at, maybe, text } from './schema-parts.js'
import { tokenRecord } from './token-schemas.js'

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

export const keyRecord = z.looseObject({
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

export const profileRecord = z.looseObject({
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

export const madeKey = z.looseObject({
  name: text,
  profile: text,
  cloudApiUrl: text,
  userId: text,
  startedAt: at,
  id: maybe,
  fingerprint: maybe,
  expiresAt: at.exactOptional(),
})

const sharedKey = z.looseObject({ item: text, id: text, createdAt: at, expiresAt: at.exactOptional() })

export const shareRecord = z.looseObject({
  machine: text,
  profiles: z.array(text),
  bound: z.looseObject({ apiUrl: text, accountId: text, serviceAccountId: text }).exactOptional(),
  held: sharedKey.extend({ n: z.number() }).exactOptional(),
  kept: z.array(sharedKey),
  intents: z.array(z.looseObject({ machine: text, nonce: text, at })),
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

const promotion = z.object({
  profile: text,
  item: text,
  at,
  owner: owner.exactOptional(),
  workspaces: z.array(workspace).exactOptional(),
})

const undoEdit = z.discriminatedUnion('kind', [
  z.object({
    kind: z.literal('set'),
    name: text,
    settings: z.record(z.string(), text.nullable()),
    keyItem: maybe,
  }),
  z.object({ kind: z.literal('delete'), name: text }),
  z.object({ kind: z.literal('rename'), name: text, to: text }),
  z.object({ kind: z.literal('set_active'), name: text.nullable(), written: maybe }),
])

export const journalEntry = z.discriminatedUnion('kind', [
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
    isNew: z.literal(true).exactOptional(),
    share: z.object({ ownerProfile: text, workspaceId: text, roleId: text }).exactOptional(),
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
      promote: promotion.exactOptional(),
      tie: promotion.extend({ heir: maybe }).exactOptional(),
      rename: z.object({ from: text, to: text }).exactOptional(),
      reach: z.object({ profile: text, workspaces: z.array(workspace) }).exactOptional(),
      forget: z
        .object({
          profile: text,
          items: z.array(text),
          heirs: z.record(z.string(), text).exactOptional(),
        })
        .exactOptional(),
      auth: z.object({ profile: text, item: maybe }).exactOptional(),
      revoke: z.boolean().exactOptional(),
      keepUnrevoked: z.boolean().exactOptional(),
    }),
    isRestored: z.literal(true).exactOptional(),
  }),
])

export const ledgerSchema: z.ZodType<Ledger> = z.object({
  profiles: byName(profileRecord),
  keys: byName(keyRecord),
  doomed: z.array(text).exactOptional(),
  generationsFrom: z.number().exactOptional(),
  changes: byName(journalEntry).exactOptional(),
  made: byName(madeKey).exactOptional(),
  shares: byName(shareRecord).exactOptional(),
  shareSecrets: z.array(text).exactOptional(),
})

/** Of the first version, which kept the journal in a file of its own. */
export const journalSchema: z.ZodType<Journal> = z.object({ entries: byName(journalEntry) })

export const tokensSchema: z.ZodType<TokenList> = z.object({
  tokens: z.array(tokenRecord),
  leftAt: at.exactOptional(),
})

export const fileRecord = z.looseObject({
  path: text,
  what: z.enum(FILE_CONTENTS),
  profile: maybe,
  addedAt: at,
  written: z.array(text).exactOptional(),
})

export const filesSchema: z.ZodType<FileList> = z.object({ files: z.array(fileRecord) })

export const portRecord = z.object({
  port: z.int().min(1).max(65_535),
  profile: text,
  cloudApiUrl: text,
  uiOrigin: text,
  stateHash: z.string().length(64).exactOptional(),
  until: at,
})

export const portsSchema: z.ZodType<PortList> = z.object({ ports: z.array(portRecord) })

/** The generation must never go back, and the key must be found again, even if the rest is not understood. */
export function salvageProfile(raw: unknown): unknown {
  if (!isObject(raw)) return undefined
  const kept = Object.entries(profileRecord.shape).filter(
    ([name, schema]) => schema.safeParse(raw[name]).success,
  )
  const fields = Object.fromEntries(kept.flatMap(([name]) => (name in raw ? [[name, raw[name]]] : [])))
  return { workspaces: [], generation: 0, digest: '', ...fields }
}
