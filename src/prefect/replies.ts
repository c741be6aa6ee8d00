/** What an answer of Prefect Cloud means: read by its schema, gone, deleted; and how a call writes an expiry. */

import type { z } from 'zod'
import { readAnswer } from './answers.js'
import type { Answered } from './call.js'
import { describeBody, isOwnRefusal, unexpected } from './refusals.js'

export function read<T>(schema: z.ZodType<T>, { answer, asked, believe }: Answered): T {
  const found = readAnswer(schema, answer, asked)
  believe()
  return found
}

/** Only Prefect's own 404, in JSON, says that a key is gone; a proxy's "404 page not found" says nothing about keys. */
export function isGone(answered: Answered): boolean {
  if (answered.answer.status !== 404) return false
  requireOwnRefusal(answered)
  return true
}

export function requireOwnRefusal({ answer, asked, believe }: Answered): void {
  if (!isOwnRefusal(answer)) throw unexpected(asked, describeBody(answer))
  believe()
}

/** RFC 3339, UTC, rounded down to seconds: a key must not live longer than requested. */
export function formatExpiration(at: number): string {
  return `${new Date(at).toISOString().slice(0, 19)}Z`
}

/** Of a DELETE that accepts 404. */
export function deletionOf(answered: Answered): 'deleted' | 'already_gone' {
  if (isGone(answered)) return 'already_gone'
  const { answer, asked } = answered
  // Prefect sends 204 without a body; anything else may be anybody's.
  if (answer.status !== 204) throw unexpected(asked, describeBody(answer))
  answered.believe()
  return 'deleted'
}
