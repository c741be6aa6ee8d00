/** Workspace WebSockets: checks the key in the header or first frame, then joins the real server. */
import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import { type RawData, type WebSocket, WebSocketServer } from 'ws'
import { z } from 'zod'
import { API_PREFIX } from '../api/api.js'
import type { FaultSource } from '../faults/faults.js'
import { fingerprint } from '../fingerprint.js'
import type { Gate } from '../server/gate.js'
import { presentedKey, readIncoming } from '../server/incoming.js'
import type { LoggedRequest, RequestLog } from '../server/request-log.js'
import { answerOfThrown, detail, refusal } from '../ui/exchange.js'
import type { WorkspaceApi, WorkspacePath } from './api.js'
import { joinBackend } from './forward-socket.js'
import { refuseUpgrade, strikeUpgrade } from './upgrade.js'

interface SocketParts {
  readonly now: () => number
  readonly gate: Gate
  readonly workspaceApi: WorkspaceApi
  readonly backend: () => string | undefined
  readonly faults: FaultSource
  readonly log: RequestLog
}

interface WorkspaceSockets {
  upgrade(incoming: IncomingMessage, socket: Duplex, head: Buffer): void
  /** Closes all open sockets, as a server restart (1011) or a policy (1008) would. */
  closeAll(code: number, reason: string): void
  close(): void
}

const AuthFrame = z.object({ type: z.literal('auth'), token: z.string() })

export function createWorkspaceSockets(parts: SocketParts): WorkspaceSockets {
  const server = new WebSocketServer({
    noServer: true,
    handleProtocols: (offered) => (offered.has('prefect') ? 'prefect' : false),
  })
  return {
    upgrade(incoming, socket, head) {
      socket.on('error', () => socket.destroy())
      void admitUpgrade(incoming, socket, parts).then((admitted) => {
        if (admitted === undefined) return
        server.handleUpgrade(incoming, socket, head, (client) => serve(client, admitted, parts))
      })
    },
    closeAll(code, reason) {
      for (const client of server.clients) client.close(code, reason)
    },
    close() {
      for (const client of server.clients) client.terminate()
      server.close()
    },
  }
}

interface Admitted {
  readonly path: WorkspacePath
  /** The client offered subprotocol `prefect`, so the first frame authenticates (research/prefect.md 4.4). */
  readonly authByFrame: boolean
  readonly entry: LoggedRequest
}

/** Returns `undefined` after refusing the upgrade. */
async function admitUpgrade(
  incoming: IncomingMessage,
  socket: Duplex,
  parts: SocketParts,
): Promise<Admitted | undefined> {
  const request = readIncoming(incoming)
  const keyText = presentedKey(request.headers)
  const key = keyText === undefined ? undefined : fingerprint(keyText)
  const { method, path } = request
  const userAgent = request.headers['user-agent']
  const entry = parts.log.add({ at: parts.now(), method, path, key, userAgent })

  const fault = parts.faults.take({ method, path, key })
  if (fault !== undefined && !(await strikeUpgrade(fault, socket))) return undefined
  try {
    const located = parts.workspaceApi.locate(path.slice(API_PREFIX.length))
    if (!path.startsWith(`${API_PREFIX}/`) || located === undefined) throw refusal(detail(404, 'Not Found'))
    const authByFrame = offersPrefect(incoming)
    if (keyText !== undefined || !authByFrame) {
      parts.workspaceApi.check(parts.gate.admit(keyText).actor, located)
    }
    entry.status = 101
    return { path: located, authByFrame, entry }
  } catch (thrown) {
    const answer = answerOfThrown(thrown)
    entry.status = answer.status
    refuseUpgrade(socket, answer)
    return undefined
  }
}

function offersPrefect(incoming: IncomingMessage): boolean {
  const offered = incoming.headers['sec-websocket-protocol'] ?? ''
  return offered.split(',').some((each) => each.trim() === 'prefect')
}

function serve(client: WebSocket, admitted: Admitted, parts: SocketParts): void {
  client.on('error', () => client.terminate())
  if (!admitted.authByFrame) {
    join(client, admitted, parts)
    return
  }
  client.once('message', (frame) => {
    try {
      const token = tokenOf(frame)
      admitted.entry.key = token === undefined ? undefined : fingerprint(token)
      parts.workspaceApi.check(parts.gate.admit(token).actor, admitted.path)
    } catch {
      // research/prefect.md 4.4: auth failures close with 1008; the wording is a self-hosted server's (section 7).
      client.close(1008, 'Invalid token')
      return
    }
    join(client, admitted, parts, frame)
  })
}

function join(client: WebSocket, { path, authByFrame }: Admitted, parts: SocketParts, first?: RawData): void {
  const base = parts.backend()
  if (base === undefined) {
    if (authByFrame) client.send(JSON.stringify({ type: 'auth_success' }))
    return
  }
  joinBackend({
    client,
    url: `${base.replace(/^http/, 'ws')}${path.rest}`,
    protocols: authByFrame ? ['prefect'] : [],
    ...(first === undefined ? {} : { first: JSON.stringify({ type: 'auth', token: null }) }),
  })
}

function tokenOf(frame: RawData): string | undefined {
  try {
    const parsed = AuthFrame.safeParse(JSON.parse(frame.toString()))
    return parsed.success ? parsed.data.token : undefined
  } catch {
    return undefined
  }
}
