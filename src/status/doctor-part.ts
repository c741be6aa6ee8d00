/** Named checks with verdict, finding and remedy. */

export interface Check {
  readonly name: string
  readonly verdict: 'ok' | 'warning' | 'problem' | 'unknown'
  readonly finding: string
  readonly remedy?: string
}

/** One check: looks, and answers. A check that throws becomes the verdict `unknown`. */
export interface Examination {
  readonly name: string
  examine(): Promise<Omit<Check, 'name'>>
}

/** Runs all, at once; order of the answer is the order given. */
export function examine(examinations: readonly Examination[]): Promise<Check[]> {
  return Promise.all(
    examinations.map(async ({ name, examine }) => {
      try {
        return { name, ...(await examine()) }
      } catch (error) {
        const finding = error instanceof Error ? error.message : 'the check itself failed'
        return { name, verdict: 'unknown' as const, finding }
      }
    }),
  )
}
