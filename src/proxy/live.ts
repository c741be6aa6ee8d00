/** Everything that is open on behalf of a token, so that it can be cut when the token dies, or all when the daemon does. */

import type { Clock, Timer } from '../std/clock.js'
import type { Tokens } from '../tokens/tokens.js'

export interface Live {
  /** `cut` is called once the token is no longer good; call the answer when it is over by itself. */
  track(tokenId: string | undefined, cut: () => void): () => void
  /** Cuts all that is left, and everything that is tracked from now on. */
  stop(): void
}

interface Entry {
  readonly tokenId: string | undefined
  readonly cut: () => void
  /** Its place among those that are open; -1 once it is over. */
  place: number
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
  // A list, because every request is in it for a moment: V8 keeps what went through a busy Set alive until a full collection.
  const open: Entry[] = []
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
    if (open.length > 0) arm()
  }
  const arm = () => {
    timer ??= clock.after(everyMs, look)
  }
  return {
    track(tokenId, cut) {
      const entry: Entry = { tokenId, cut, place: open.length }
      open.push(entry)
      if (isStopped) cut()
      else arm()
      return () => remove(open, entry)
    },
    stop() {
      isStopped = true
      timer?.cancel()
      for (const { cut } of [...open]) cut()
    },
  }
}

/** The last one takes its place. */
function remove(open: Entry[], entry: Entry): void {
  const { place } = entry
  if (place < 0) return
  entry.place = -1
  const last = open.pop()
  if (last === undefined || last === entry) return
  last.place = place
  open[place] = last
}
