/** The daemon itself: vault lock, log level, shutdown. */
import { z } from 'zod'
import { vaultView } from './status.js'

export const unlockBody = z.strictObject({ passphrase: z.string().min(1).max(4000) })
export const vaultAnswer = z.object({ vault: vaultView })
export type VaultAnswer = z.infer<typeof vaultAnswer>
export const logLevels = ['debug', 'info', 'warn', 'error'] as const
export const logLevelBody = z.strictObject({ level: z.enum(logLevels) })
export const logLevelAnswer = z.object({ level: z.enum(logLevels) })
export const shutdownAnswer = z.object({ message: z.string() })
