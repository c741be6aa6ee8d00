/** Joins a client's WebSocket to the real server's: frames and close codes pass both ways. */
import { WebSocket } from 'ws'

/** `first` is sent to the server before any frame of the client. */
export function joinBackend(parts: {
  readonly client: WebSocket
  readonly url: string
  readonly protocols: readonly string[]
  readonly first?: string
}): void {
  const { client, url, protocols, first } = parts
  const server = new WebSocket(url, [...protocols])
  const waiting: { data: WebSocket.RawData; isBinary: boolean }[] = []

  client.on('message', (data, isBinary) => {
    if (server.readyState === WebSocket.OPEN) server.send(data, { binary: isBinary })
    else waiting.push({ data, isBinary })
  })
  server.on('open', () => {
    if (first !== undefined) server.send(first)
    for (const { data, isBinary } of waiting.splice(0)) server.send(data, { binary: isBinary })
  })
  server.on('message', (data, isBinary) => client.send(data, { binary: isBinary }))
  server.on('error', () => client.close(1011, 'workspace backend failed'))
  server.on('close', (code, reason) => passClose(client, code, reason))
  client.on('close', (code, reason) => passClose(server, code, reason))
}

/** 1005 ("no code") and 1006 ("closed abnormally") must not be sent. */
function passClose(other: WebSocket, code: number, reason: Buffer): void {
  if (code === 1006) other.terminate()
  else if (code === 1005) other.close()
  else other.close(code, reason)
}
