/** Errors on the wire: RFC 9457 problem details with our code and hint. */
import { z } from 'zod'

/** The same list as in `domain/errors.ts`. */
export const errorKinds = [
  'invalid',
  'unauthorized',
  'login',
  'denied',
  'misdirected',
  'not_found',
  'conflict',
  'too_large',
  'unsupported',
  'too_many',
  'unavailable',
  'upstream',
  'internal',
] as const

export const problem = z.object({
  type: z.string().meta({ description: 'urn:prefect-auth:CODE' }),
  title: z.string(),
  status: z.number().int(),
  detail: z.string(),
  code: z.string().meta({ description: 'one of docs/errors.md' }),
  kind: z.enum(errorKinds),
  hint: z.string().optional().meta({ description: 'what to do now, a command where one helps' }),
})
export type Problem = z.infer<typeof problem>
