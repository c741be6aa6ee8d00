/** The requests that the simulator received, for assertions, with fingerprints instead of keys. */

export interface LoggedRequest {
  /** Simulated time, epoch ms. */
  readonly at: number
  readonly method: string
  /** Without the query. */
  readonly path: string
  /** Fingerprint of the presented key; for a WebSocket, of the key in its first frame once received. */
  key: string | undefined
  readonly userAgent: string | undefined
  /** Status sent; `undefined` while pending, or if a fault dropped the response. 101 for a WebSocket. */
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
