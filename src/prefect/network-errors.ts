/** Pure: why there was no answer, as a sentence for a tired person, and whether trying again may help. */
import { BrokerError, isBrokerError } from '../base/errors.js'

export interface NetworkFailure {
  readonly error: BrokerError
  readonly isRetryable: boolean
  /** The certificate was not trusted: another look at SSL_CERT_FILE may help. */
  readonly isUntrusted: boolean
}

interface Verdict {
  readonly says: string
  readonly hint?: string
  /** False where the same would only happen again. */
  readonly again?: false
  readonly code?: 'prefect_unexpected'
  readonly isUntrusted?: true
}

const ONLINE = 'check the network, the VPN and the proxy: prefect-auth doctor'
const TRUST =
  'a proxy of your network may stand between: set SSL_CERT_FILE to a PEM file with its certificate, and restart prefect-authd'
const CLOCK = 'check the clock of this machine: date'

const UNTRUSTED: Verdict = {
  says: 'its TLS certificate is signed by an authority this machine does not trust',
  hint: TRUST,
  again: false,
  isUntrusted: true,
}
const NOT_TLS: Verdict = {
  says: 'what answers there does not speak TLS as it should',
  hint: 'check PREFECT_CLOUD_API_URL and HTTPS_PROXY',
  again: false,
}
const BROKEN_HTTP: Verdict = {
  says: 'what came back is not HTTP',
  hint: 'check PREFECT_CLOUD_API_URL and HTTPS_PROXY',
  again: false,
  code: 'prefect_unexpected',
}
const CUT: Verdict = { says: 'the connection was cut before an answer came', hint: ONLINE }
const NO_ROUTE: Verdict = { says: 'there is no way to it from this network', hint: ONLINE }
const TOO_SLOW_TO_CONNECT: Verdict = { says: 'no connection came about in time', hint: ONLINE }

/** By the `code` of Node, OpenSSL and undici. */
const VERDICTS: Readonly<Record<string, Verdict>> = {
  ENOTFOUND: { says: 'its name is not known (DNS)', hint: ONLINE },
  EAI_AGAIN: { says: 'its name could not be looked up (DNS)', hint: ONLINE },
  ECONNREFUSED: { says: 'the connection was refused', hint: ONLINE },
  EHOSTUNREACH: NO_ROUTE,
  ENETUNREACH: NO_ROUTE,
  EADDRNOTAVAIL: NO_ROUTE,
  ECONNRESET: CUT,
  EPIPE: CUT,
  UND_ERR_SOCKET: CUT,
  ETIMEDOUT: TOO_SLOW_TO_CONNECT,
  UND_ERR_CONNECT_TIMEOUT: TOO_SLOW_TO_CONNECT,
  UND_ERR_HEADERS_TIMEOUT: {
    says: 'it took the request and did not answer in time',
    hint: ONLINE,
    again: false,
  },
  UND_ERR_BODY_TIMEOUT: { says: 'it stopped in the middle of its answer', hint: ONLINE, again: false },
  UND_ERR_RES_CONTENT_LENGTH_MISMATCH: { ...BROKEN_HTTP, says: 'its answer has another length than it says' },
  UND_ERR_HEADERS_OVERFLOW: { ...BROKEN_HTTP, says: 'the head of its answer is too large' },
  SELF_SIGNED_CERT_IN_CHAIN: UNTRUSTED,
  DEPTH_ZERO_SELF_SIGNED_CERT: UNTRUSTED,
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: UNTRUSTED,
  UNABLE_TO_GET_ISSUER_CERT: UNTRUSTED,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: UNTRUSTED,
  CERT_SIGNATURE_FAILURE: UNTRUSTED,
  CERT_HAS_EXPIRED: { ...UNTRUSTED, says: 'its TLS certificate has expired', hint: CLOCK },
  CERT_NOT_YET_VALID: { ...UNTRUSTED, says: 'its TLS certificate is not valid yet', hint: CLOCK },
  ERR_TLS_CERT_ALTNAME_INVALID: {
    ...UNTRUSTED,
    says: 'its TLS certificate is for another host',
    hint: TRUST,
  },
  UND_ERR_PRX_TLS: { ...UNTRUSTED, says: 'the TLS certificate of the proxy is for another host' },
  EPROTO: NOT_TLS,
}

/**
 * The failure for `error`, which stopped us while we did `purpose` ("list the workspaces") at `host`. `phase` `body`: the
 * head of an answer had come.
 */
export function describeNetworkError(
  error: unknown,
  {
    host,
    purpose,
    phase,
  }: { readonly host: string; readonly purpose: string; readonly phase: 'before' | 'body' },
): NetworkFailure {
  if (isBrokerError(error)) return { error, isRetryable: false, isUntrusted: false }
  const verdict = inPhase(findVerdict(error), phase)
  const { says, hint = ONLINE, again = true, code = 'prefect_unreachable', isUntrusted = false } = verdict
  return {
    error: new BrokerError(code, `could not ${purpose} at ${host}: ${says}`, { hint, cause: error }),
    isRetryable: again,
    isUntrusted,
  }
}

/** A connection that is cut within an answer leaves half an answer, not none. */
function inPhase(verdict: Verdict, phase: 'before' | 'body'): Verdict {
  if (phase === 'before' || verdict !== CUT) return verdict
  return { ...CUT, says: 'its answer broke off in the middle', code: 'prefect_unexpected' }
}

function findVerdict(error: unknown): Verdict {
  const code = findCode(error)
  const known = VERDICTS[code]
  if (known) return known
  if (code.startsWith('ERR_SSL_') || code.startsWith('ERR_TLS_')) return NOT_TLS
  if (error instanceof Error && error.name === 'HTTPParserError') return BROKEN_HTTP
  const tunnel = error instanceof Error ? /^Proxy response \((\d+)\)/.exec(error.message) : null
  if (tunnel) return describeTunnel(tunnel[1])
  return { says: 'the request failed', again: false }
}

function describeTunnel(status: string | undefined): Verdict {
  if (status === '407') {
    return {
      says: 'the proxy wants a user and a password (407)',
      hint: 'put them into HTTPS_PROXY (http://USER:PASSWORD@HOST:PORT) and restart prefect-authd',
      again: false,
    }
  }
  const says = `the proxy answered ${status} and did not let us through`
  return { says, hint: 'check HTTPS_PROXY and NO_PROXY', again: false }
}

/** The code, or the first one among its causes and parts: a name with two addresses fails as an AggregateError. */
function findCode(error: unknown): string {
  for (
    let each: unknown = error, depth = 0;
    each instanceof Error && depth < 5;
    each = each.cause, depth += 1
  ) {
    if ('code' in each && typeof each.code === 'string' && each.code !== 'UND_ERR_ABORTED') return each.code
    if (each instanceof AggregateError) return findCode(each.errors[0])
  }
  return ''
}
