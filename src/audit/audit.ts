/** The audit log, and the format of its lines: people read them with jq, callers by `GET /v1/audit`. */

import { z } from 'zod'
import { defined } from '../std/defined.js'
import { plainText } from '../std/text.js'
import type { Door } from '../tokens/access.js'

const ACTIONS = [
  'credentials',
  'env',
  'file',
  'proxy',
  'write',
  'key_created',
  'key_deleted',
  'key_renewed',
  'key_rotated',
  'service_account_created',
  'service_account_deleted',
  'workspace_created',
  'token_created',
  'token_revoked',
  'token_kept',
  'page_link',
  'page_opened',
  'page_alarm',
  'ask_accepted',
  'ask_refused',
  'login',
  'logout',
  'adopt',
  'profile_changed',
  'vault_unlock',
  'vault_moved',
  'share_initialised',
  'share_used',
  'share_probed',
  'share_secret_put',
  'share_secret_removed',
  'share_rotated',
  'share_adopted',
  'share_left',
  'vault_exported',
  'vault_imported',
  'refused',
  'shutdown',
  // Who is at the other end of the connection `conn`; `read` puts it into that connection's entries.
  'caller',
] as const

export type AuditAction = (typeof ACTIONS)[number]

export interface AuditEntry {
  /** Epoch ms. */
  readonly at: number
  readonly action: AuditAction
  readonly outcome: 'given' | 'refused' | 'done'
  /** The listener, or `daemon` for what the daemon does unasked. */
  readonly door: Door | 'daemon'
  readonly profile?: string
  readonly fingerprint?: string
  readonly tokenId?: string
  readonly tokenName?: string
  /** The token that something was done to, or that was asked about; not the caller's. */
  readonly aboutId?: string
  readonly aboutName?: string
  /** At Prefect: `POST /deployments/{id}/create_flow_run` */
  readonly operation?: string
  /** The User-Agent, at most 80 printable characters. */
  readonly agent?: string
  readonly code?: string
  /** Names the connection. */
  readonly conn?: string
  /** Program, pid and parents, as the system tells; `unknown` if it does not. */
  readonly caller?: string
  /** How many equal events of the last minute this line stands for, beside those that have lines; absent: this one. */
  readonly count?: number
}

export interface Audit {
  /**
   * Never throws and waits for nothing: lines are written in batches a few times a second, and at close. An urgent one is in
   * the file when this returns, so that a kill cannot lose it.
   */
  record(entry: Omit<AuditEntry, 'at'>, options?: { readonly isUrgent?: boolean }): void
  /**
   * Entries at or after `since` (epoch ms), oldest first, of at most the newest 10 000 lines; a page is short work. Rejects
   * with `disk_failed`.
   */
  read(since?: number): Promise<Iterable<readonly AuditEntry[]>>
  /** Writes what is pending; later records are dropped. */
  close(): Promise<void>
}

const optional = z.string().optional()

const lineFields = z.object({
  at: z.iso.datetime().transform((text) => Date.parse(text)),
  action: z.enum(ACTIONS),
  outcome: z.enum(['given', 'refused', 'done']),
  door: z.enum(['socket', 'restricted', 'tcp', 'page', 'daemon']),
  profile: optional,
  fingerprint: optional,
  token_id: optional,
  token_name: optional,
  about_id: optional,
  about_name: optional,
  operation: optional,
  agent: optional,
  code: optional,
  conn: optional,
  caller: optional,
  count: z.int().min(1).optional(),
})

/** Every line begins like this, so that a reader can skip old ones unparsed: `{"at":"2026-01-02T03:04:05.678Z"`. */
const PREFIX = '{"at":"'
const TIME_LENGTH = 24

/** Returns the line with its newline. `time` is the entry's `at` as formatted by `toISOString`. */
export function formatAuditLine(time: string, entry: Omit<AuditEntry, 'at'>): string {
  const {
    action,
    outcome,
    door,
    profile,
    fingerprint,
    tokenId,
    tokenName,
    aboutId,
    aboutName,
    operation,
    agent,
    code,
    conn,
    caller,
    count,
  } = entry
  const rest = JSON.stringify({
    action,
    outcome,
    door,
    profile,
    fingerprint,
    token_id: tokenId,
    token_name: tokenName,
    about_id: aboutId,
    about_name: aboutName,
    operation,
    agent: agent === undefined ? undefined : plainText(agent, 80),
    code,
    conn,
    caller: caller === undefined ? undefined : plainText(caller, 200),
    count,
  })
  return `${PREFIX}${time}",${rest.slice(1)}\n`
}

/** Whether the bytes begin like a line of ours, at or after `since` (RFC 3339, UTC, milliseconds). */
export function isAuditLine(line: Buffer, since: string): boolean {
  const head = line.toString('latin1', 0, PREFIX.length + TIME_LENGTH)
  return head.startsWith(PREFIX) && head.slice(PREFIX.length) >= since
}

/** Returns `undefined` for half a line, or a foreign one. */
export function parseAuditLine(line: string): AuditEntry | undefined {
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
      aboutId: rest.about_id,
      aboutName: rest.about_name,
      operation: rest.operation,
      agent: rest.agent,
      code: rest.code,
      conn: rest.conn,
      caller: rest.caller,
      count: rest.count,
    }),
  }
}
