/** One call to OpenBao or Vault: its address, its certificates, its answer, and what went wrong. */

import type { Agent } from 'undici'
import { z } from 'zod'
import { BrokerError } from '../base/errors.js'
import type { VaultSettings } from '../config/shares.js'
import { readPlainFile, readPrivateFile } from '../os/private-files.js'
import { type CloudAnswer, exchange } from '../prefect/exchange.js'
import { parseHttpDate } from '../prefect/retry.js'
import { type Clock, SECOND_MS } from '../std/clock.js'
import { defined } from '../std/defined.js'
import type { Secret } from '../std/secret.js'
import { plainText } from '../std/text.js'

const TIMEOUT_MS = 10 * SECOND_MS
const MAX_BODY_BYTES = 256 * 1024

export interface VaultRequest {
  readonly method: 'GET' | 'POST'
  /** Below `/v1/`, every segment encoded. */
  readonly path: string
  readonly token?: Secret
  readonly body?: unknown
  /** Completes "cannot …". */
  readonly purpose: string
}

export interface VaultAnswer {
  readonly status: number
  readonly json: unknown
  /** What the store says is wrong, for people. */
  readonly errors: readonly string[]
  /** The store's time, epoch ms, and ours when the answer came. */
  readonly date?: { readonly theirs: number; readonly ours: number }
}

export interface VaultCaller {
  /** Any answer of the store's own but a sealed one. Rejects with `share_store_unreachable` or `share_store_sealed`. */
  call(request: VaultRequest): Promise<VaultAnswer>
  readonly host: string
  close(): Promise<void>
}

const errorsAnswer = z.object({ errors: z.array(z.string()) })

/** Redirects are not followed: the token goes to the configured host only. */
export function createVaultCaller(settings: VaultSettings, clock: Clock): VaultCaller {
  const { url, namespace } = settings
  const { host } = new URL(url)
  let agent: Promise<Agent> | undefined
  let isClosed = false

  async function call({ method, path, token, body, purpose }: VaultRequest): Promise<VaultAnswer> {
    const headers: Record<string, string> = {
      accept: 'application/json',
      // Proxies of an agent refuse requests without it: no page of a browser can send one.
      'x-vault-request': 'true',
      ...defined({ 'x-vault-namespace': namespace }),
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      ...(token === undefined ? {} : { 'x-vault-token': token.reveal() }), // to the store that has made it
    }
    const abort = new AbortController()
    const timer = clock.after(TIMEOUT_MS, () => abort.abort(new Error('it took too long')))
    try {
      const dispatcher = await open()
      const exchanged = await exchange(
        dispatcher,
        {
          method,
          url: new URL(`${url}/v1/${path}`),
          headers,
          ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        },
        { headersTimeoutMs: TIMEOUT_MS, bodyTimeoutMs: TIMEOUT_MS, maxBodyBytes: MAX_BODY_BYTES },
        abort.signal,
      )
      if (exchanged.kind === 'answer') return read(exchanged.answer, purpose)
      const cause = exchanged.kind === 'failed' ? exchanged.error : undefined
      // A certificate may have been replaced: the next call reads the files again.
      await retire()
      throw unreachable(
        purpose,
        exchanged.kind === 'too_large' ? 'its answer is too large' : reasonOf(cause),
        cause,
      )
    } finally {
      timer.cancel()
    }
  }

  function read({ status, headers, text }: CloudAnswer, purpose: string): VaultAnswer {
    const json = parse(text)
    const told = errorsAnswer.safeParse(json)
    const errors = told.success ? told.data.errors.map((line) => plainText(line, 200)) : []
    if (status === 503 && /sealed/i.test(errors.join(' '))) {
      throw new BrokerError('share_store_sealed', `cannot ${purpose}: ${host} is sealed`, {
        hint: 'unseal the store; the last key is served on until then',
      })
    }
    if (status >= 300 && status < 400) {
      throw unreachable(purpose, 'it sends us to another address: set url to the one that answers')
    }
    if (status >= 500 || status === 429 || (json === undefined && status !== 204)) {
      throw unreachable(purpose, `it answered ${status}${json === undefined ? ' without JSON' : ''}`)
    }
    const theirs = parseHttpDate(headers.get('date'))
    const date = theirs === undefined ? undefined : { theirs, ours: clock.now() }
    return { status, json, errors, ...defined({ date }) }
  }

  function unreachable(purpose: string, reason: string, cause?: unknown): BrokerError {
    return new BrokerError('share_store_unreachable', `cannot ${purpose}: no use of ${host}: ${reason}`, {
      hint: 'check the address and the network: prefect-auth doctor',
      ...defined({ cause }),
    })
  }

  async function open(): Promise<Agent> {
    if (isClosed) throw unreachable('ask the store', 'the daemon is shutting down')
    agent ??= openAgent(settings)
    try {
      return await agent
    } catch (error) {
      agent = undefined
      throw error
    }
  }

  async function retire(): Promise<void> {
    const old = agent
    agent = undefined
    await old?.then((opened) => opened.destroy()).catch(() => undefined)
  }

  return {
    call,
    host,
    async close() {
      isClosed = true
      await retire()
    },
  }
}

async function openAgent({ caFile, auth }: VaultSettings): Promise<Agent> {
  const ca = caFile === undefined ? undefined : await certificate(caFile, 'ca_file')
  const isCert = auth.kind === 'cert'
  const cert = isCert ? await certificate(auth.certFile, 'auth.cert_file') : undefined
  const key = isCert ? await readPrivateFile(auth.keyFile) : undefined
  if (isCert && key === undefined) throw unreadable(auth.keyFile, 'auth.key_file')
  const undici = await import('../prefect/undici.js')
  return new undici.Agent({
    connections: 2,
    keepAliveTimeout: 5 * SECOND_MS,
    connect: { timeout: TIMEOUT_MS, ...defined({ ca, cert, key: key?.toString('utf8') }) },
  })
}

async function certificate(path: string, setting: string): Promise<string> {
  const text = await readPlainFile(path).catch(() => undefined)
  if (text === undefined) throw unreadable(path, setting)
  return text.toString('utf8')
}

function unreadable(path: string, setting: string): BrokerError {
  return new BrokerError('share_store_login', `cannot read ${path}, which ${setting} of the share names`, {
    hint: `check ${path}`,
  })
}

function parse(text: string): unknown {
  try {
    const json: unknown = JSON.parse(text)
    return json
  } catch {
    return undefined
  }
}

/** Never the text of an error that could quote a request. */
function reasonOf(error: unknown): string {
  const code = error instanceof Error && 'code' in error ? error.code : undefined
  if (typeof code === 'string') return REASONS[code] ?? code
  return error instanceof Error && error.message === 'it took too long'
    ? error.message
    : 'the connection failed'
}

const REASONS: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'nothing listens there',
  ENOTFOUND: 'its name is not known',
  EAI_AGAIN: 'its name cannot be resolved now',
  ECONNRESET: 'it closed the connection',
  UND_ERR_SOCKET: 'it closed the connection',
  UND_ERR_CONNECT_TIMEOUT: 'it took too long',
  UND_ERR_HEADERS_TIMEOUT: 'it took too long',
  SELF_SIGNED_CERT_IN_CHAIN: 'its certificate is signed by an unknown authority: set ca_file',
  DEPTH_ZERO_SELF_SIGNED_CERT: 'its certificate is signed by an unknown authority: set ca_file',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: 'its certificate is signed by an unknown authority: set ca_file',
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: 'its certificate is signed by an unknown authority: set ca_file',
  ERR_TLS_CERT_ALTNAME_INVALID: 'its certificate is for another name',
  CERT_HAS_EXPIRED: 'its certificate has expired, or the clock of this machine is wrong',
}
