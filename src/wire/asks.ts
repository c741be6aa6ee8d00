/** Questions before a write (`/v1/asks`): requests that wait until their owner has said yes. */
import { z } from 'zod'
import { profileName, time } from './common.js'
import { EFFECTS } from './kinds.js'

const tokenRef = z.object({ id: z.string(), name: z.string() })

export const askView = z.object({
  id: z.number().int().meta({ description: 'other questions have other ids, until the daemon restarts' }),
  profile: profileName,
  token: tokenRef,
  sentence: z.string().meta({ description: 'start deployment Testing/nightly in prefect/production' }),
  operation: z.string(),
  effect: z.enum(EFFECTS).optional().meta({
    description: 'what it does; absent: prefect-auth does not know this operation',
  }),
  method: z.string(),
  path: z.string(),
  who: z.array(z.string()).meta({
    description: 'program, pid and parents of those that ask, as far as the system tells; the last eight',
  }),
  opened_at: time,
  last_asked_at: time,
  gives_up: z.literal(true).optional().meta({
    description: 'the client is a Prefect before 3.3.1, which gives up after about two minutes',
  }),
  digest: z.string().meta({ description: 'SHA-256 of the method, path, media type and body' }),
  body_bytes: z.number().int(),
})
export type AskView = z.infer<typeof askView>

const allowance = z.object({
  token: tokenRef,
  profile: profileName,
  operation: z.string(),
  until: time,
})

export const askList = z.object({
  asks: z.array(askView).meta({ description: 'oldest first' }),
  allowed: z.array(allowance).meta({ description: 'what was allowed for an hour' }),
})
export type AskList = z.infer<typeof askList>

export const askParams = z.strictObject({ id: z.coerce.number().int().min(1).max(1e9) })

export const askDetail = askView.extend({
  body: z.string().optional().meta({
    description: 'at most 64 KiB; anything like a key is cut out; absent: there is none, or it is no text',
  }),
  body_cut: z.literal(true).optional().meta({ description: 'there is more than is shown' }),
  media_type: z.string().optional(),
})
export type AskDetail = z.infer<typeof askDetail>

export const answerAskBody = z.strictObject({
  accept: z.boolean(),
  for: z.enum(['once', 'hour']).default('once').meta({
    description: 'hour: this operation of this token at this profile, for an hour; only with a yes',
  }),
  digest: z.string().max(64).optional().meta({
    description: 'of the question that was looked at; if it is another one by now, the answer does nothing',
  }),
})
export type AnswerAskBody = z.input<typeof answerAskBody>

export const answeredAsk = askView.extend({ answer: z.enum(['yes', 'no']), until: time.optional() })
export type AnsweredAsk = z.infer<typeof answeredAsk>
