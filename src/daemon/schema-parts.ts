/** What the schemas of all state files are made of. */
import { z } from 'zod'

export const text = z.string().max(10_000)
export const maybe = text.exactOptional()
/** Epoch ms that a calendar can show. */
export const at = z.number().min(-8.64e15).max(8.64e15)
