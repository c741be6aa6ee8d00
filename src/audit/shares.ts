/** What is kept of the oldest audit file: a share for each holder, so that nobody's flood pushes out another's lines. */

/** Whose share a line counts against: a token's, that of everybody who was refused, or the owner's. */
export function holderOf(line: string): string {
  const [, token] = /"token_id":"((?:[^"\\]|\\.)*)"/.exec(line) ?? []
  if (token !== undefined) return `token ${token}`
  return line.includes('"outcome":"refused"') ? 'refused' : 'owner'
}

/**
 * The newest lines of each holder, in the order given, of at most `bytes` together. Whoever needs less than an equal share
 * leaves the rest to the others. Pure.
 */
export function keepShares(lines: readonly string[], bytes: number): readonly string[] {
  const byHolder = new Map<string, { readonly at: number; readonly size: number }[]>()
  for (const [at, line] of lines.entries()) {
    const own = byHolder.get(holderOf(line)) ?? []
    own.push({ at, size: Buffer.byteLength(line) + 1 })
    byHolder.set(holderOf(line), own)
  }
  const sizeOf = (own: readonly { readonly size: number }[]) => own.reduce((sum, { size }) => sum + size, 0)
  const holders = [...byHolder.values()].sort((a, b) => sizeOf(a) - sizeOf(b))
  const kept = new Set<number>()
  let left = bytes
  for (const [index, own] of holders.entries()) {
    const share = left / (holders.length - index)
    let used = 0
    for (const { at, size } of own.reverse()) {
      if (used + size > share) break
      used += size
      kept.add(at)
    }
    left -= used
  }
  return lines.filter((_, at) => kept.has(at))
}
