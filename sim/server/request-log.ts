/** What the simulator was asked, for assertions. Keys stand in it as fingerprints only. */

export interface LoggedRequest {
  /** Simulated time, epoch ms. */
  readonly at: number
  readonly method: string
  /** Without the query. */
  readonly path: string
  /** Fingerprint of the presented key; for a WebSocket that of its first frame, once that has come. */
  key: string | undefined
  readonly userAgent: string | undefined
  /** What was answered; `undefined` while it is open, or where a fault ate the answer. 101 for a WebSocket. */
  status: number | undefined
}

export interface RequestLog {
  readonly entries: readonly LoggedRequest[]
  add(entry: Omit<LoggedRequest, 'status'>): LoggedRequest
  clear(): void
}

/** Keeps the last `limit` requests. */
export function createRequestLog(limit = 10_000): RequestLog {
  const entries: LoggedRequest[] = []
  return {
    entries,
    add(entry) {
      const logged = { ...entry, status: undefined }
      entries.push(logged)
      if (entries.length > limit) entries.shift()
      return logged
    },
    clear() {
      entries.length = 0
    },
  }
}
