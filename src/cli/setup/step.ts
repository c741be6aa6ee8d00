/** What setup is made of: parts that can be left out, and the steps that are still to be done. */
import type { Session } from '../session.js'
import type { RecordKeeper } from './files.js'

export const PARTS = ['service', 'completion', 'hook', 'python', 'adopt', 'login'] as const
export type Part = (typeof PARTS)[number]

export interface Step {
  readonly part: Part
  /** What will be done: lines for a person, the first one on its own a whole sentence. */
  readonly says: readonly string[]
  /** What will be written, exactly: the whole text, or what is added at the end. */
  readonly files: readonly { readonly path: string; readonly text: string }[]
  /** Resolves with what was done, a sentence. */
  run(): Promise<string>
}

export interface PartPlan {
  readonly steps: readonly Step[]
  /** What is left as it is, and why. */
  readonly notes: readonly string[]
}

export interface SetupContext {
  readonly session: Session
  readonly record: RecordKeeper
  /** Nothing may be done, not even a daemon started. */
  readonly isLookOnly: boolean
}

export function noted(...notes: readonly string[]): PartPlan {
  return { steps: [], notes }
}
