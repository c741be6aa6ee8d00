/** Why there was no answer: network and TLS errors as sentences, and whether to try again. */
import { BrokerError, isBrokerError } from '../base/errors.js'

export interface NetworkFailure {
  readonly error: BrokerError
  readonly isRetryable: boolean
  /** The certificate was not trusted: reading SSL_CERT_FILE again may help. */
  readonly isUntrusted: boolean
}

interface Verdict {
  readonly says: string
  readonly hint?: string
  /** False if trying again would fail the same way. */
  readonly again?: false
  readonly code?: 'prefect_unexpected'
  readonly isUntrusted?: true
}

export const CHECK_NETWORK = 'check the network, the VPN and the proxy: prefect-auth doctor'
const TRUST =
  'set PREFECT_API_SSL_CERT_FILE of the profile to a PEM file with the certificate of its authority; for a TLS proxy of your network, SSL_CERT_FILE, and restart prefect-authd'
const CLOCK = 'check the clock of this machine: date'

const UNTRUSTED: Verdict = {
  says: 'its TLS certificate is signed by an authority this machine does not trust',
  hint: TRUST,
  again: false,
  isUntrusted: true,
}
const NOT_TLS: Verdict = {
  says: 'the server does not speak valid TLS',
  hint: 'check PREFECT_CLOUD_API_URL and HTTPS_PROXY',
  again: false,
}
const BROKEN_HTTP: Verdict = {
  says: 'the answer is not HTTP',
  hint: 'check PREFECT_CLOUD_API_URL and HTTPS_PROXY',
  again: false,
  code: 'prefect_unexpected',
}
const CUT: Verdict = { says: 'the connection was closed before an answer arrived', hint: CHECK_NETWORK }
const NO_ROUTE: Verdict = { says: 'there is no route to it from this network', hint: CHECK_NETWORK }
const TOO_SLOW_TO_CONNECT: Verdict = { says: 'the connection timed out', hint: CHECK_NETWORK }

/** By the codes of Node, OpenSSL and undici. */
const VERDICTS: Readonly<Record<string, Verdict>> = {
  ENOTFOUND: { says: 'its name does not exist (DNS)', hint: CHECK_NETWORK },
  EAI_AGAIN: { says: 'its name cannot be looked up (DNS)', hint: CHECK_NETWORK },
  ECONNREFUSED: { says: 'the connection was refused', hint: CHECK_NETWORK },
  EHOSTUNREACH: NO_ROUTE,
  ENETUNREACH: NO_ROUTE,
  EADDRNOTAVAIL: NO_ROUTE,
  ECONNRESET: CUT,
  EPIPE: CUT,
  UND_ERR_SOCKET: CUT,
  ETIMEDOUT: TOO_SLOW_TO_CONNECT,
  UND_ERR_CONNECT_TIMEOUT: TOO_SLOW_TO_CONNECT,
  UND_ERR_HEADERS_TIMEOUT: {
    says: 'it accepted the request and did not answer in time',
    hint: CHECK_NETWORK,
    again: false,
  },
  UND_ERR_BODY_TIMEOUT: { says: 'it stopped in the middle of its answer', hint: CHECK_NETWORK, again: false },
  UND_ERR_RES_CONTENT_LENGTH_MISMATCH: {
    ...BROKEN_HTTP,
    says: 'its answer has a different length than it declares',
  },
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
 * The failure for `error`, which prevented `purpose` ("list the workspaces") at `host`. `phase` is `body` if the head of an
 * answer had arrived.
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
  const {
    says,
    hint = CHECK_NETWORK,
    again = true,
    code = 'prefect_unreachable',
    isUntrusted = false,
  } = verdict
  return {
    error: new BrokerError(code, `cannot ${purpose} at ${host}: ${says}`, { hint, cause: error }),
    isRetryable: again,
    isUntrusted,
  }
}

/** What is wrong with the other side's certificate, and the remedy; `undefined` if the error is not about certificates. */
export function describeUntrusted(
  error: unknown,
): { readonly says: string; readonly hint: string } | undefined {
  const { says, hint = CHECK_NETWORK, isUntrusted = false } = findVerdict(error)
  return isUntrusted ? { says, hint } : undefined
}

/** A connection that is closed within an answer leaves half an answer, not none. */
function inPhase(verdict: Verdict, phase: 'before' | 'body'): Verdict {
  if (phase === 'before' || verdict !== CUT) return verdict
  return { ...CUT, says: 'the connection was closed in the middle of its answer', code: 'prefect_unexpected' }
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
      says: 'the proxy requires a user and a password (407)',
      hint: 'set HTTPS_PROXY to http://USER:PASSWORD@HOST:PORT, and restart prefect-authd',
      again: false,
    }
  }
  const says = `the proxy refused the connection (${status})`
  return { says, hint: 'check HTTPS_PROXY and NO_PROXY', again: false }
}

/** The first code among the error, its causes and parts: a name with two addresses fails as an AggregateError. */
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
