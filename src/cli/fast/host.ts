/** What the fast path needs of the process it runs in; `bin/auth.ts` makes it. */
import type { Surroundings } from '../../config/paths.js'

export interface Host extends Surroundings {
  readonly version: string
  /** Our own process, and the one that started us. */
  readonly pid: number
  readonly parentPid: number
  /** Written at once, even where a pipe is full. */
  writeOut(text: string): void
  writeErr(text: string): void
  /** Calls `listener` instead of what the signal would do, until the answer is called. */
  onSignal(signal: NodeJS.Signals, listener: () => void): () => void
  /** Whether one of the standard streams is a terminal. */
  readonly hasTerminal: boolean
  /** Replaces this process (Node >= 22.15, not on Windows). Comes back only by killing us: plan before calling. */
  readonly execve?: (file: string, args: readonly string[], env: Readonly<Record<string, string>>) => void
}
