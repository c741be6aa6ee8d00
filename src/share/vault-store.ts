/** OpenBao and HashiCorp Vault as the store of a share: the KV engine version 2, by plain HTTP. */

import { z } from 'zod'
import { BrokerError } from '../base/errors.js'
import type { VaultSettings } from '../config/shares.js'
import type { Clock } from '../std/clock.js'
import { SECOND_MS } from '../std/clock.js'
import { defined } from '../std/defined.js'
import type { ReadSecret, ShareStore, StoreFinding } from './store.js'
import { createVaultCaller, type VaultAnswer, type VaultRequest } from './vault-call.js'
import { createVaultLogin } from './vault-login.js'

const metadata = z.object({
  version: z.number().int().positive(),
  created_time: z.string(),
  deletion_time: z.string().optional(),
  destroyed: z.boolean().optional(),
})
const readAnswer = z.object({ data: z.object({ data: z.unknown(), metadata }) })
const writeAnswer = z.object({ data: metadata })
const nothing = z.object({ errors: z.array(z.string()).max(0) })
const capabilities = z.object({ data: z.object({ capabilities: z.array(z.string()) }) })
const requirement = z.object({ data: z.object({ cas_required: z.boolean() }) })

export function openVaultStore({
  settings,
  readSecret,
  clock,
}: {
  readonly settings: VaultSettings
  readonly readSecret: ReadSecret
  readonly clock: Clock
}): ShareStore {
  const caller = createVaultCaller(settings, clock)
  const login = createVaultLogin({ auth: settings.auth, caller, readSecret, clock })
  const mount = encodePath(settings.mount)
  const path = encodePath(settings.path)
  const where = `${caller.host}, path ${settings.mount}/${settings.path}`

  /** A refused token is replaced once: it may have been revoked, or another one may be in its file. */
  async function call(request: Omit<VaultRequest, 'token'>): Promise<VaultAnswer> {
    const held = await login.current()
    const answer = await caller.call({ ...request, token: held.token })
    if (answer.status !== 403) return answer
    const other = await login.replace(held)
    const again = other === undefined ? answer : await caller.call({ ...request, token: other.token })
    if (again.status === 403) throw denied(request.purpose, where)
    return again
  }

  return {
    where,
    async read() {
      const purpose = 'read the shared key'
      const answer = await call({ method: 'GET', path: `${mount}/data/${path}`, purpose })
      const read = readAnswer.safeParse(answer.json)
      if (read.success) {
        const { data, metadata } = read.data.data
        if (answer.status === 404 || data === null) throw deleted(where)
        return { data, version: versionOf(metadata) }
      }
      if (answer.status === 404 && nothing.safeParse(answer.json).success) return undefined
      throw refused(purpose, where, answer)
    },
    async write(data, expected) {
      const purpose = 'write the shared key'
      const cas = expected === undefined ? 0 : Number(expected.split(' ')[0])
      const body = { options: { cas }, data }
      const answer = await call({ method: 'POST', path: `${mount}/data/${path}`, body, purpose })
      const read = writeAnswer.safeParse(answer.json)
      if (answer.status === 200 && read.success) return { version: versionOf(read.data.data) }
      const isConflict = answer.errors.some((line) => line.includes('check-and-set parameter did not match'))
      if (answer.status === 400 && isConflict) return 'conflict'
      throw refused(purpose, where, answer)
    },
    async examine() {
      const { token, lifeMs, gotAt, isRenewable } = await login.current()
      const paths = [`${settings.mount}/data/${settings.path}`]
      const purpose = 'examine the store'
      const ask = (request: Pick<VaultRequest, 'method' | 'path' | 'body'>) =>
        caller.call({ ...request, token, purpose })
      const answer = await ask({ method: 'POST', path: 'sys/capabilities-self', body: { paths } })
      const may = capabilities.safeParse(answer.json)
      const rule = requirement.safeParse(
        (await ask({ method: 'GET', path: `${mount}/metadata/${path}` })).json,
      )
      const engine = requirement.safeParse((await ask({ method: 'GET', path: `${mount}/config` })).json)
      const rules = [rule, engine].flatMap((one) => (one.success ? [one.data.data.cas_required] : []))
      return defined({
        tokenLifeMs: lifeMs === undefined ? undefined : lifeMs - (clock.monotonic() - gotAt),
        isTokenRenewable: lifeMs === undefined ? undefined : isRenewable,
        may: may.success ? rightsOf(may.data.data.capabilities) : undefined,
        // One that says yes is enough; no one that may be read is no answer.
        requiresVersion: rules.length === 0 ? undefined : rules.some(Boolean),
        skewMs: answer.date === undefined ? undefined : skewOf(answer.date),
      }) satisfies StoreFinding
    },
    close: () => caller.close(),
  }
}

/** A restored store counts from an older number: what was written then tells the two apart. */
function versionOf({ version, created_time }: z.output<typeof metadata>): string {
  return `${version} ${created_time.replaceAll(' ', '_')}`
}

function rightsOf(granted: readonly string[]): { readonly read: boolean; readonly write: boolean } {
  const isRoot = granted.includes('root')
  // The first version of a path is created, every other one updated.
  return { read: isRoot || granted.includes('read'), write: isRoot || granted.includes('update') }
}

/** The header has whole seconds. */
function skewOf({ theirs, ours }: NonNullable<VaultAnswer['date']>): number {
  const skew = theirs - ours
  return Math.abs(skew) < SECOND_MS ? 0 : skew
}

function encodePath(path: string): string {
  return path.split('/').map(encodeURIComponent).join('/')
}

function denied(purpose: string, where: string): BrokerError {
  return new BrokerError(
    'share_store_denied',
    `cannot ${purpose}: the policy at ${where} does not allow it`,
    {
      hint: 'check the policy of the token: read, and update on machines that may rotate',
    },
  )
}

function deleted(where: string): BrokerError {
  return new BrokerError('share_document_deleted', `the document at ${where} was deleted`, {
    hint: 'undelete it in the store; the last key is served on until then',
  })
}

function refused(purpose: string, where: string, { status, errors }: VaultAnswer): BrokerError {
  const why = errors.length === 0 ? `status ${status}` : errors.join('; ')
  return new BrokerError('share_store_refused', `cannot ${purpose} at ${where}: ${why}`, {
    hint: 'check the path: it must be below a KV engine of version 2',
  })
}
