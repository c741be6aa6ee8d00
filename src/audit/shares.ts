/** What is kept of the oldest audit file: a share for each holder, so that nobody's flood pushes out another's lines. */

/** Whose share a line counts against: a token's, that of everybody who was refused, or the owner's. */
export function holderOf(line: string): string {
  const [, token] = /"token_id":"((?:[^"\\]|\\.)*)"/.exec(line) ?? []
  if (token !== undefined) return `token ${token}`
  return line.includes('"outcome":"refused"') ? 'refused' : 'owner'
}

interface Shares {
  /** Counts a line of so many bytes, newest first. */
  count(line: string, bytes: number): void
  /** Once all are counted, asked for the same lines in the same order: whether this one is kept. */
  keeps(line: string): boolean
}

/**
 * The newest lines of each holder, of at most `bytes` together. Whoever needs less than an equal share leaves the rest to the
 * others. Pure; the lines are passed twice, so that none has to be held.
 */
export function createShares(bytes: number): Shares {
  const sizes = new Map<string, number[]>()
  /** How many lines of each are still to be kept. */
  let left: Map<string, number> | undefined
  return {
    count(line, size) {
      const holder = holderOf(line)
      const own = sizes.get(holder)
      if (own === undefined) sizes.set(holder, [size])
      else own.push(size)
    },
    keeps(line) {
      left ??= divide(sizes, bytes)
      const holder = holderOf(line)
      const more = left.get(holder) ?? 0
      left.set(holder, more - 1)
      return more > 0
    },
  }
}

/** How many of its newest lines each holder keeps. */
function divide(sizes: ReadonlyMap<string, readonly number[]>, bytes: number): Map<string, number> {
  const totalOf = (own: readonly number[]) => own.reduce((sum, size) => sum + size, 0)
  const holders = [...sizes]
    .map(([holder, own]) => ({ holder, own, total: totalOf(own) }))
    .sort((a, b) => a.total - b.total)
  const counts = new Map<string, number>()
  let left = bytes
  for (const [index, { holder, own }] of holders.entries()) {
    const share = left / (holders.length - index)
    let used = 0
    let count = 0
    for (const size of own) {
      if (used + size > share) break
      used += size
      count += 1
    }
    counts.set(holder, count)
    left -= used
  }
  return counts
}
