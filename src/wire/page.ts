/** A link to the page of this machine. */
import { z } from 'zod'
import { time } from './common.js'

export const pageLink = z.object({
  url: z.string().meta({ description: 'works once; its secret follows the #, which no browser sends' }),
  expires_at: time,
})
export type PageLink = z.infer<typeof pageLink>
