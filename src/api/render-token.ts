/** Tokens without the token, and audit lines, on the wire. */
import type { AuditEntry } from '../audit/audit.js'
import type { TokenFacts } from '../tokens/tokens.js'
import type { AuditEntry as AuditEntryView } from '../wire/events.js'
import type { TokenView } from '../wire/tokens.js'
import { renderTime } from './render.js'

export function renderToken(token: TokenFacts): TokenView {
  return {
    id: token.id,
    name: token.name,
    power: token.power,
    profiles: [...token.profiles],
    created_at: renderTime(token.createdAt),
    expires_at: renderTime(token.expiresAt),
    ...(token.lastUsedAt === undefined ? {} : { last_used_at: renderTime(token.lastUsedAt) }),
  }
}

export function renderAuditEntry(entry: AuditEntry): AuditEntryView {
  const { at, action, outcome, door, profile, fingerprint, tokenId, tokenName, agent, code } = entry
  return {
    at: renderTime(at),
    action,
    outcome,
    door,
    ...(profile === undefined ? {} : { profile }),
    ...(fingerprint === undefined ? {} : { fingerprint }),
    ...(tokenId === undefined ? {} : { token: tokenId }),
    ...(tokenName === undefined ? {} : { token_name: tokenName }),
    ...(agent === undefined ? {} : { agent }),
    ...(code === undefined ? {} : { code }),
  }
}
