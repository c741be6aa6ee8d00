/** Whether the key of `rotate_with` may rotate the service account: asked before a rotation is due. */

import { BrokerError, isBrokerError } from '../base/errors.js'
import type { CloudTarget } from '../prefect/cloud.js'
import { shownName } from '../profiles/bundled.js'
import { HOUR_MS, MINUTE_MS } from '../std/clock.js'
import { defined } from '../std/defined.js'
import { loginCommand } from '../std/text.js'
import type { RotatorFinding, ShareContext } from './context.js'
import type { ShareDocument } from './document.js'
import { dueAt } from './plan.js'
import { rotatorKey } from './steps.js'

/** The built-in role that may only look at service accounts (PrefectHQ/prefect docs, manage-roles.mdx). Of others nothing is known. */
const POWERLESS = 'Member'

/** Errors that say something of the key; after any other one nothing is known. */
const TELLING = [
  'key_rejected',
  'login_required',
  'key_host_mismatch',
  'profile_not_found',
  'profile_not_cloud',
] as const

/** Undefined if nothing was found out: Prefect, or the vault, did not answer. */
export async function examineRotator(
  context: ShareContext,
  { apiUrl, accountId }: Pick<ShareDocument, 'apiUrl' | 'accountId'>,
): Promise<RotatorFinding | undefined> {
  const { rotateWith: profile } = context.settings
  if (profile === undefined) return undefined
  try {
    const role = await roleOf(context, rotatorKey(context, apiUrl), accountId, profile)
    const problem = role === POWERLESS ? powerless(profile, role) : undefined
    return { profile, ...defined({ role, problem }) }
  } catch (error) {
    if (isBrokerError(error, ...TELLING)) return { profile, problem: error }
    if (isBrokerError(error)) return undefined
    throw error
  }
}

/** A service account is one of the list only if its key's id is known. Prefect may not let a role see this: then it is not known. */
async function roleOf(
  { cloud, keeper }: ShareContext,
  key: CloudTarget,
  accountId: string,
  profile: string,
): Promise<string | undefined> {
  const { owner } = keeper.profile(profile)
  try {
    if (owner?.kind === 'service_account') {
      const id = keeper.current(profile)?.cloudId
      const all = await cloud.serviceAccounts(key, accountId)
      return all.find((one) => id !== undefined && one.key?.id === id)?.role
    }
    const { id, email } = owner ?? (await cloud.me(key))
    return await cloud.memberRole(key, accountId, { userId: id, ...defined({ email }) })
  } catch (error) {
    if (!isBrokerError(error, 'prefect_forbidden', 'prefect_not_found', 'prefect_refused')) throw error
    return undefined
  }
}

function powerless(profile: string, role: string): BrokerError {
  return new BrokerError(
    'share_rotation_refused',
    `the key of profile ${shownName(profile)} may not rotate a service account: its owner has the role ${role} in the account, and it takes Admin or Owner`,
    { hint: 'check rotate_with: it names the profile of an Admin or Owner' },
  )
}

/** The key of `rotate_with` ends before the shared one is due, and nothing renews it. */
export function endsTooSoon(
  { credentials, settings, record }: ShareContext,
  document: ShareDocument,
): BrokerError | undefined {
  const { rotateWith: profile } = settings
  if (profile === undefined) return undefined
  const { expiresAt, renewsAt } = credentials.listed(profile)?.key ?? {}
  const due = dueAt(document, record().machine)
  if (expiresAt === undefined || renewsAt !== undefined || expiresAt > due) return undefined
  const day = (at: number) => new Date(at).toISOString().slice(0, 10)
  return new BrokerError(
    'share_rotation_refused',
    `the key of profile ${shownName(profile)} expires ${day(expiresAt)} and is not renewed; the shared key is due ${day(due)}`,
    { hint: loginCommand(profile) },
  )
}

export interface RotatorWatch {
  /** Asks Prefect if the last answer is old. Never rejects. */
  look(document: ShareDocument): Promise<void>
  /** A rotation of this machine has succeeded, or failed with this. */
  rotated(error: BrokerError | undefined): void
  /** The key of `rotate_with` is another one, or what Prefect says of it has changed. */
  changed(): void
  finding(document: ShareDocument | undefined): RotatorFinding | undefined
}

const ASK_EVERY_MS = HOUR_MS
const ASK_AGAIN_MS = 5 * MINUTE_MS

export function createRotatorWatch(context: ShareContext): RotatorWatch {
  const { clock, log, name } = context
  let found: RotatorFinding | undefined
  let refusal: BrokerError | undefined
  let askAt = Number.NEGATIVE_INFINITY

  return {
    async look(document) {
      if (clock.monotonic() < askAt) return
      try {
        const fresh = await examineRotator(context, document)
        found = fresh ?? found
        const isSure = fresh !== undefined && fresh.problem === undefined
        askAt = clock.monotonic() + (isSure ? ASK_EVERY_MS : ASK_AGAIN_MS)
      } catch (error) {
        askAt = clock.monotonic() + ASK_AGAIN_MS
        log.error({ share: name, error }, 'rotator not examined; will retry')
      }
    },
    rotated(error) {
      // Whatever the role is called: Prefect has said no.
      if (error === undefined || isBrokerError(error, 'prefect_forbidden', ...TELLING)) refusal = error
    },
    changed() {
      refusal = undefined
      askAt = Number.NEGATIVE_INFINITY
    },
    finding(document) {
      const { rotateWith: profile } = context.settings
      if (profile === undefined) return undefined
      const late = document === undefined ? undefined : endsTooSoon(context, document)
      return { profile, ...found, ...defined({ problem: refusal ?? found?.problem ?? late }) }
    },
  }
}
