/** One line of `audit.jsonl`: written by hand-outs under load, read by people with jq and by `GET /v1/audit`. */

import { z } from 'zod'
import { defined } from '../std/defined.js'
import { plainText } from '../std/text.js'
import type { Caller } from '../tokens/access.js'

export type AuditAction =
  | 'credentials'
  | 'env'
  | 'proxy'
  | 'key_created'
  | 'key_deleted'
  | 'key_renewed'
  | 'key_rotated'
  | 'token_created'
  | 'token_revoked'
  | 'login'
  | 'logout'
  | 'adopt'
  | 'profile_changed'
  | 'vault_unlock'
  | 'refused'
  | 'shutdown'

export interface AuditEntry {
  /** Epoch ms. */
  readonly at: number
  readonly action: AuditAction
  readonly outcome: 'given' | 'refused' | 'done'
  readonly door: Caller['door'] | 'daemon'
  readonly profile?: string
  readonly fingerprint?: string
  readonly tokenId?: string
  readonly tokenName?: string
  /** The User-Agent, at most 80 printable characters. */
  readonly agent?: string
  readonly code?: string
}

export interface Audit {
  /** Never throws and never waits: lines are batched to the disk a few times a second, and at close. */
  record(entry: Omit<AuditEntry, 'at'>): void
  /** Entries at or after `since`, oldest first, at most the newest 10 000. */
  read(since?: number): Promise<readonly AuditEntry[]>
  close(): Promise<void>
}

const actions = [
  'credentials',
  'env',
  'proxy',
  'key_created',
  'key_deleted',
  'token_created',
  'token_revoked',
  'login',
  'logout',
  'adopt',
  'profile_changed',
  'vault_unlock',
  'refused',
  'shutdown',
] as const satisfies readonly AuditEntry['action'][]

const optional = z.string().optional()

const lineFields = z.object({
  at: z.iso.datetime().transform((text) => Date.parse(text)),
  action: z.enum(actions),
  outcome: z.enum(['given', 'refused', 'done']),
  door: z.enum(['socket', 'restricted', 'tcp', 'daemon']),
  profile: optional,
  fingerprint: optional,
  token_id: optional,
  token_name: optional,
  agent: optional,
  code: optional,
})

/** Every line begins so, which lets a reader skip old ones without parsing: `{"at":"2026-01-02T03:04:05.678Z"`. */
const PREFIX = '{"at":"'
const TIME_LENGTH = 24

/** The line with its newline. `time` is the entry's `at` as `toISOString` writes it. */
export function formatAuditLine(time: string, entry: Omit<AuditEntry, 'at'>): string {
  const { action, outcome, door, profile, fingerprint, tokenId, tokenName, agent, code } = entry
  const rest = JSON.stringify({
    action,
    outcome,
    door,
    profile,
    fingerprint,
    token_id: tokenId,
    token_name: tokenName,
    agent: agent === undefined ? undefined : plainText(agent, 80),
    code,
  })
  return `${PREFIX}${time}",${rest.slice(1)}\n`
}

/** The entry, or `undefined` for half a line, a stranger's line, or one before `since` (RFC 3339, UTC, milliseconds). */
export function parseAuditLine(line: string, since: string): AuditEntry | undefined {
  if (!line.startsWith(PREFIX)) return undefined
  if (line.slice(PREFIX.length, PREFIX.length + TIME_LENGTH) < since) return undefined
  try {
    const read = lineFields.safeParse(JSON.parse(line))
    return read.success ? toEntry(read.data) : undefined
  } catch {
    return undefined
  }
}

function toEntry({ at, action, outcome, door, ...rest }: z.output<typeof lineFields>): AuditEntry {
  return {
    at,
    action,
    outcome,
    door,
    ...defined({
      profile: rest.profile,
      fingerprint: rest.fingerprint,
      tokenId: rest.token_id,
      tokenName: rest.token_name,
      agent: rest.agent,
      code: rest.code,
    }),
  }
}
