/** The client's calls for shared keys. */

import type { z } from 'zod'
import { MINUTE_MS } from '../std/clock.js'
import { defined } from '../std/defined.js'
import { empty } from '../wire/common.js'
import {
  type InitShareBody,
  probeAnswer,
  removedSecretAnswer,
  shareList,
  shareSecretAnswer,
  shareView,
} from '../wire/shares.js'
import type { SocketRequest } from './transport.js'

type Call = <T>(schema: z.ZodType<T>, request: SocketRequest) => Promise<T>

/** The store and Prefect are asked one after the other. */
const DONE_WITHIN_MS = 3 * MINUTE_MS
const PROBED_WITHIN_MS = 20 * MINUTE_MS

export function createShareCalls({ call }: { readonly call: Call }) {
  const post = <T>(answer: z.ZodType<T>, name: string, act: string, body: unknown = {}) => {
    const path = `/v1/shares/${encodeURIComponent(name)}/${act}`
    return call(answer, { method: 'POST', path, body, timeoutMs: DONE_WITHIN_MS })
  }
  return {
    shares: () => call(shareList, { method: 'GET', path: '/v1/shares' }),
    initShare: (name: string, body: InitShareBody) => post(shareView, name, 'init', body),
    /** Prefect may remember a key for minutes: the answer takes as long. */
    probeShare: (name: string, service_account: string | undefined) =>
      call(probeAnswer, {
        method: 'POST',
        path: `/v1/shares/${encodeURIComponent(name)}/probe`,
        body: defined({ service_account }),
        timeoutMs: PROBED_WITHIN_MS,
      }),
    putShareSecret: (name: string, value: string) =>
      call(shareSecretAnswer, {
        method: 'PUT',
        path: `/v1/share-secrets/${encodeURIComponent(name)}`,
        body: { value },
      }),
    removeShareSecret: (name: string) =>
      call(removedSecretAnswer, { method: 'DELETE', path: `/v1/share-secrets/${encodeURIComponent(name)}` }),
    useShare: (name: string, profile: string) => post(shareView, name, 'use', { profile }),
    rotateShare: (name: string) => post(shareView, name, 'rotate'),
    adoptShare: (name: string, api_key: string) => post(shareView, name, 'adopt', { api_key }),
    leaveShare: (name: string, profile: string) => post(empty, name, 'leave', { profile }),
  }
}
