/** What is not known of Prefect, tried on a service account that nobody needs: how keys live on after rotations, and how late lists are. */

import { BrokerError, isBrokerError } from '../base/errors.js'
import type { AccountApi, ServiceAccount } from '../prefect/account.js'
import type { CloudApi, CloudTarget } from '../prefect/cloud.js'
import { type Clock, HOUR_MS, MINUTE_MS, SECOND_MS } from '../std/clock.js'
import { defined } from '../std/defined.js'
import type { Secret } from '../std/secret.js'

export interface ProbeFindings {
  readonly serviceAccount: string
  /** From the answer of a rotation until Prefect accepted the new key, ms, the worst; absent: not within two minutes. */
  readonly acceptedAfterMs?: number
  /** Until Prefect's list named the new key as the newest, ms, the worst; absent: not within two minutes. */
  readonly listedAfterMs?: number
  /** Whether the replaced key was accepted all the time, though it lives on for 20 minutes. */
  readonly hasOverlap: boolean
  /** The key before the replaced one: it lives until its own end, or a second rotation has ended it. */
  readonly older: 'independent' | 'one_previous'
  /** How long after the second rotation the older key was refused, ms. */
  readonly endedAfterMs?: number
  /** The service account is still at Prefect, because it could not be deleted. */
  readonly isLeft: boolean
  /** Service accounts of earlier probes. */
  readonly leftOver: readonly string[]
}

export interface ProbeParts {
  readonly cloud: CloudApi & AccountApi
  readonly clock: Clock
  readonly newId: () => string
  /** Of this key of an Admin or Owner. */
  readonly owner: CloudTarget
  readonly accountId: string
  /** Of an hour from now, by Prefect's clock, epoch ms. */
  readonly endOfLife: (lifeMs: number) => number
  readonly signal: AbortSignal
}

const PREFIX = 'prefect-auth-probe-'
const OVERLAP_MS = 20 * MINUTE_MS
/** Prefect's servers remember a key for up to five minutes (PrefectHQ/prefect#17383): before, a yes proves nothing. */
const WATCH_MS = 6 * MINUTE_MS
const SOON_MS = 2 * MINUTE_MS
const POLL_MS = 2 * SECOND_MS

/** `account`: one whose keys may be ended; absent: one is created, and deleted at the end, also after a failure. */
export async function probePrefect(parts: ProbeParts, account?: ServiceAccount): Promise<ProbeFindings> {
  const { cloud, owner, accountId, newId, endOfLife } = parts
  const all = await cloud.serviceAccounts(owner, accountId)
  const leftOver = all.flatMap(({ name }) => (name.startsWith(PREFIX) ? [name] : []))
  if (account !== undefined) {
    const { key } = await rotate(parts, account)
    return { ...(await observe(parts, account, key)), isLeft: false, leftOver }
  }
  const name = `${PREFIX}${newId()}`
  const made = await cloud.createServiceAccount(owner, accountId, { name, expiresAt: endOfLife(HOUR_MS) })
  let isLeft = false
  try {
    const found = await observe(parts, made.account, made.minted.key)
    isLeft = !(await remove(parts, made.account))
    return { ...found, isLeft, leftOver }
  } catch (error) {
    isLeft = !(await remove(parts, made.account))
    if (!isLeft || !isBrokerError(error)) throw error
    throw new BrokerError(error.code, `${error.message}; service account ${name} is still at Prefect`, {
      hint: `prefect-auth service-account delete ${name} --yes`,
      cause: error,
    })
  }
}

/** Three keys: the first is replaced, and replaced again. */
async function observe(parts: ProbeParts, account: ServiceAccount, first: Secret) {
  const { clock } = parts
  const second = await rotate(parts, account)
  const early = { ...(await delays(parts, account, second)), isOldAlive: await accepts(parts, first) }
  const third = await rotate(parts, account)
  const rotatedAt = clock.monotonic()
  const late = await delays(parts, account, third)
  const endedAt = await until(parts, rotatedAt + WATCH_MS, async () => !(await accepts(parts, first)))
  const hasOverlap = early.isOldAlive && (await accepts(parts, second.key))
  return {
    serviceAccount: account.name,
    hasOverlap,
    older: endedAt === undefined ? ('independent' as const) : ('one_previous' as const),
    ...defined({
      acceptedAfterMs: worst(early.acceptedAfterMs, late.acceptedAfterMs),
      listedAfterMs: worst(early.listedAfterMs, late.listedAfterMs),
      endedAfterMs: endedAt === undefined ? undefined : endedAt - rotatedAt,
    }),
  }
}

interface Rotated {
  readonly id: string
  readonly key: Secret
}

function rotate(
  { cloud, owner, accountId, endOfLife }: ProbeParts,
  { id }: ServiceAccount,
): Promise<Rotated> {
  const wanted = { oldKeyLivesMs: OVERLAP_MS, expiresAt: endOfLife(HOUR_MS) }
  return cloud.rotateServiceAccountKey(owner, accountId, id, wanted)
}

async function delays(parts: ProbeParts, account: ServiceAccount, { id, key }: Rotated) {
  const { cloud, owner, accountId, clock } = parts
  const from = clock.monotonic()
  const acceptedAt = await until(parts, from + SOON_MS, () => accepts(parts, key))
  const listedAt = await until(parts, from + SOON_MS, async () => {
    const found = await cloud.serviceAccounts(owner, accountId, account.name)
    return found.some((one) => one.id === account.id && one.key?.id === id)
  })
  const since = (at: number | undefined) => (at === undefined ? undefined : at - from)
  return { acceptedAfterMs: since(acceptedAt), listedAfterMs: since(listedAt) }
}

/** When it was so, of the monotonic clock; undefined: not until `end`. */
async function until(
  { clock, signal }: ProbeParts,
  end: number,
  isSo: () => Promise<boolean>,
): Promise<number | undefined> {
  for (;;) {
    if (signal.aborted) throw new BrokerError('shutting_down', 'the probe was stopped')
    const askedAt = clock.monotonic()
    if (await isSo()) return askedAt
    if (clock.monotonic() >= end) return undefined
    await new Promise<void>((resolve) => clock.after(POLL_MS, resolve))
  }
}

/** A service account without a role in any workspace may get a 403, or an empty list: its key is good. */
async function accepts({ cloud, owner }: ProbeParts, key: Secret): Promise<boolean> {
  try {
    await cloud.workspaces({ cloudApiUrl: owner.cloudApiUrl, key })
    return true
  } catch (error) {
    if (isBrokerError(error, 'prefect_forbidden')) return true
    if (isBrokerError(error, 'key_rejected')) return false
    throw error
  }
}

async function remove({ cloud, owner, accountId }: ProbeParts, { id }: ServiceAccount): Promise<boolean> {
  for (let tries = 0; tries < 3; tries += 1) {
    try {
      await cloud.deleteServiceAccount(owner, accountId, id)
      return true
    } catch (error) {
      if (!isBrokerError(error)) throw error
    }
  }
  return false
}

const worst = (one: number | undefined, other: number | undefined) =>
  one === undefined || other === undefined ? undefined : Math.max(one, other)
