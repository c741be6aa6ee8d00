/** Everything that is open on behalf of a token, so that it can be cut when the token dies, or all when the daemon does. */
import type { Tokens } from '../../domain/tokens.js'
import type { Clock, Timer } from '../../std/clock.js'

export interface Live {
  /** `cut` is called once the token is no longer good; call the answer when it is over by itself. */
  track(tokenId: string | undefined, cut: () => void): () => void
  /** Cuts all that is left, and everything that is tracked from now on. */
  stop(): void
}

interface Entry {
  readonly tokenId: string | undefined
  readonly cut: () => void
}

export function createLive({
  tokens,
  clock,
  everyMs,
}: {
  readonly tokens: Pick<Tokens, 'use'>
  readonly clock: Clock
  readonly everyMs: number
}): Live {
  const open = new Set<Entry>()
  let timer: Timer | undefined
  let isStopped = false

  const look = () => {
    timer = undefined
    const verdicts = new Map<string, boolean>()
    for (const { tokenId, cut } of [...open]) {
      if (tokenId === undefined) continue
      const isGood = verdicts.get(tokenId) ?? tokens.use(tokenId)
      verdicts.set(tokenId, isGood)
      if (!isGood) cut()
    }
    if (open.size > 0) arm()
  }
  const arm = () => {
    timer ??= clock.after(everyMs, look)
  }
  return {
    track(tokenId, cut) {
      const entry = { tokenId, cut }
      open.add(entry)
      if (isStopped) cut()
      else arm()
      return () => {
        open.delete(entry)
      }
    },
    stop() {
      isStopped = true
      timer?.cancel()
      for (const { cut } of [...open]) cut()
    },
  }
}
