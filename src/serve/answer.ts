/** Decides what is served for one profile from what its file says and what we hold. Pure. */

import { BrokerError } from '../base/errors.js'
import { genuineKey, type HeldSecret } from '../keys/keeper.js'
import { type KeyFacts, type KeyRecord, keyFacts, type ProfileRecord } from '../keys/ledger.js'
import { type Owner, workspaceHandle } from '../prefect/cloud.js'
import { shownName } from '../profiles/bundled.js'
import type { ProfileReading, ResolvedProfile } from '../profiles/profile.js'
import { defined } from '../std/defined.js'
import { loginCommand, quoteWord } from '../std/text.js'
import type { ProfileState, Served } from './credentials.js'

export interface AnswerInputs {
  /** The profile file has never been read: nobody knows where the profile leads. */
  readonly unread?: BrokerError
  /** Where the profile leads. */
  readonly resolved: ResolvedProfile
  /** The alias that is asked for; everything else here is about the profile that it stands for. */
  readonly alias?: ResolvedProfile
  /** What is known of the profile. */
  readonly known: ProfileRecord
  /** The keys that may be the one in this profile's table, of all profiles. */
  readonly keys: readonly KeyRecord[]
  /** Whose key is in the table, if it is one of ours. */
  readonly fileOwner?: Owner
  /** The profile's current key, with what memory has for it. */
  readonly current?: {
    readonly record: KeyRecord
    readonly held: HeldSecret
    /** When it will be renewed, epoch ms. */
    readonly renewsAt?: number
  }
  /** Prefect has refused the key in the file, and not accepted it since. */
  readonly isFileKeyDoubted?: boolean
  /** What memory has for the profile's auth string, if one was stored. */
  readonly auth?: { readonly item: string; readonly held: HeldSecret }
}

/** A secret with its source, or why there is none. */
type Found =
  | {
      readonly kind: 'found'
      readonly source: 'vault' | 'file'
      readonly part: Pick<Served, 'apiKey' | 'authString' | 'key' | 'item' | 'state'>
    }
  | { readonly kind: 'none' }
  | {
      readonly kind: 'refused'
      readonly source: 'vault' | 'none'
      readonly error: BrokerError
      readonly key?: KeyFacts
    }

const PREFECT_CLOUD = 'https://api.prefect.cloud/api'

export function decideAnswer(inputs: AnswerInputs): ProfileState {
  const { known } = inputs
  const resolved = inputs.alias ?? inputs.resolved
  const { workspaces, generation, exchangeRefused } = known
  const found = find(inputs)
  // The known owner is that of the stored key: nobody has asked whose a stranger's key in the file is.
  const owner = found.kind === 'found' && found.source === 'file' ? inputs.fileOwner : known.owner
  const standing = standingOf(inputs, found)
  const doubt = standing?.kind === 'doubted' ? [`${standing.message}: ${standing.hint}`] : []
  const state = {
    resolved,
    generation,
    workspaces,
    notices: [...resolved.warnings, ...(exchangeRefused === undefined ? [] : [exchangeRefused]), ...doubt],
    ...defined({ owner, standing }),
  }
  if (found.kind === 'refused') {
    const { source, error, key } = found
    const outcome = { kind: 'refused', error } as const
    return { ...state, outcome, keySource: source, authSource: 'none', ...defined({ key }) }
  }
  const part = found.kind === 'found' ? found.part : {}
  const source = found.kind === 'found' ? found.source : 'none'
  return {
    ...state,
    keySource: part.apiKey ? source : 'none',
    authSource: part.authString ? source : 'none',
    ...defined({ key: part.key }),
    outcome: { kind: 'served', served: served(resolved, known, owner, part) },
  }
}

/** Why no profile can be served; `undefined` if the profile file has been read, or there is none. */
export function unreadFile({ isUnread, state, path, problem }: ProfileReading): BrokerError | undefined {
  if (isUnread !== true) return undefined
  const code = state === 'unreadable' ? 'profiles_file_unreadable' : 'profiles_file_invalid'
  return new BrokerError(code, problem ?? `cannot read ${path}`, {
    hint: `fix ${quoteWord(path)}, then check: prefect-auth status`,
  })
}

/** What to say of a key that Prefect refuses. A key in the file is the user's own, and served as long as it is there. */
function standingOf({ resolved, current }: AnswerInputs, found: Found): ProfileState['standing'] {
  const { name } = resolved
  if (found.kind === 'refused') {
    if (found.key === undefined || current?.record.rejectedAt === undefined) return undefined
    return { kind: 'rejected', message: found.error.message, hint: loginCommand(name) }
  }
  if (found.kind === 'none' || found.part.state === undefined) return undefined
  const since = found.source === 'vault' ? current?.record.doubt?.since : undefined
  const when =
    since === undefined ? '' : ` since ${new Date(since).toISOString().slice(0, 16).replace('T', ' ')} UTC`
  return {
    kind: 'doubted',
    message: `Prefect has refused the key of profile ${shownName(name)}${when}; it is still served while Prefect is asked again`,
    hint: `prefect-auth renew --now --profile ${quoteWord(name)}`,
  }
}

function served(
  { name, kind, apiUrl, cloudApiUrl, cloudUiUrl, workspace, because }: ResolvedProfile,
  { workspaces, generation }: ProfileRecord,
  owner: Owner | undefined,
  part: Extract<Found, { kind: 'found' }>['part'],
): Served {
  const named = workspaces.find(({ workspaceId }) => workspaceId === workspace?.workspaceId)
  const isElsewhere = cloudApiUrl !== PREFECT_CLOUD
  return {
    profile: name,
    kind,
    ...defined({ apiUrl }),
    // Set even where Prefect would infer it: a file of the job's directory may name another one.
    ...(isElsewhere || kind === 'cloud' ? { cloudUiUrl } : {}),
    ...(isElsewhere ? { cloudApiUrl } : {}),
    ...part,
    ...defined({
      workspace: workspace && {
        ...workspace,
        ...defined({ handle: named && workspaceHandle(named) }),
      },
      owner: part.key !== undefined && kind === 'cloud' ? owner : undefined,
    }),
    generation,
    because,
  }
}

function find(inputs: AnswerInputs): Found {
  if (inputs.unread !== undefined) return { kind: 'refused', source: 'none', error: inputs.unread }
  switch (inputs.resolved.kind) {
    case 'cloud':
      return findKey(inputs)
    case 'server':
      return findAuthString(inputs)
    case 'none':
      return { kind: 'none' }
  }
}

/**
 * An unknown key in the file is newer than ours: someone ran `prefect cloud login`. A known one is a mirror, perhaps an old
 * one, of a key that we hold.
 */
function findKey(inputs: AnswerInputs): Found {
  const { resolved, keys, current, known: profile } = inputs
  const { fileKey } = resolved
  const held = findHeldKey(inputs)
  if (fileKey === undefined || fileKey.length === 0) return held
  const fingerprint = fileKey.fingerprint()
  const known = keys.filter((key) => key.fingerprint === fingerprint)
  // Whatever the file says: a key that is known to belong to another host is not sent to this one.
  const foreign = known.find(({ cloudApiUrl }) => cloudApiUrl !== resolved.cloudApiUrl)
  if (foreign !== undefined) return hostMismatch(resolved, foreign)
  const user = current !== undefined && profile.owner?.kind === 'user' ? profile.owner.id : undefined
  // Also one that came by another profile of the same user.
  const ours = known.filter(
    (key) =>
      key.profile === resolved.name ||
      key.item === current?.record.item ||
      (user !== undefined && key.userId === user),
  )
  if (ours.length > 0 && held.kind === 'found') return held
  if (ours.some(({ rejectedAt }) => rejectedAt !== undefined)) return held
  const state = inputs.isFileKeyDoubted === true ? ('doubted' as const) : undefined
  const [record] = known
  const key = record === undefined ? ({ fingerprint, origin: 'profile' } as const) : keyFacts(record)
  return { kind: 'found', source: 'file', part: { apiKey: fileKey, key, ...defined({ state }) } }
}

function findHeldKey({ resolved, current }: AnswerInputs): Found {
  const { name, cloudApiUrl } = resolved
  if (current === undefined) {
    return refused('none', 'login_required', `profile ${shownName(name)} has no API key`, loginCommand(name))
  }
  const { record: key, held, renewsAt } = current
  const facts = keyFacts(key, renewsAt)
  if (key.rejectedAt !== undefined) {
    const message = `Prefect no longer accepts the key of profile ${shownName(name)}`
    return refused('vault', 'login_required', message, loginCommand(name), facts)
  }
  if (key.cloudApiUrl !== cloudApiUrl) return hostMismatch(resolved, key, facts)
  const apiKey = genuineKey(key, held)
  if (apiKey !== undefined) {
    const state = key.doubt === undefined ? undefined : ('doubted' as const)
    return {
      kind: 'found',
      source: 'vault',
      part: { apiKey, key: facts, item: key.item, ...defined({ state }) },
    }
  }
  if (held.kind === 'failed') return { kind: 'refused', source: 'vault', error: held.error, key: facts }
  const what =
    held.kind === 'missing' ? 'is no longer in the vault' : 'in the vault is not the one that was stored'
  const message = `the key of profile ${shownName(name)} ${what}`
  return refused('vault', 'login_required', message, loginCommand(name), facts)
}

function hostMismatch(
  { name, cloudApiUrl }: ResolvedProfile,
  key: KeyRecord,
  facts: KeyFacts = keyFacts(key),
): Found {
  const message = `the key of profile ${shownName(name)} belongs to ${key.cloudApiUrl}, but the profile now points at ${cloudApiUrl}`
  return refused('vault', 'key_host_mismatch', message, loginCommand(name), facts)
}

function findAuthString({ resolved, auth }: AnswerInputs): Found {
  const { name, apiUrl, fileAuthString } = resolved
  if (fileAuthString !== undefined && fileAuthString.length > 0) {
    return { kind: 'found', source: 'file', part: { authString: fileAuthString } }
  }
  if (auth === undefined) return { kind: 'none' }
  const { item, held } = auth
  const command = `prefect-auth profile set ${quoteWord(name)} --auth-string-stdin`
  if (held.kind === 'failed') return { kind: 'refused', source: 'vault', error: held.error }
  if (held.kind === 'missing') {
    const message = `the auth string of profile ${shownName(name)} is no longer in the vault`
    return refused('vault', 'login_required', message, command)
  }
  if (held.apiUrl !== apiUrl) {
    const message = `the auth string of profile ${shownName(name)} belongs to ${held.apiUrl}, but the profile now points elsewhere`
    return refused('vault', 'key_host_mismatch', message, command)
  }
  return { kind: 'found', source: 'vault', part: { authString: held.secret, item } }
}

function refused(
  source: 'vault' | 'none',
  code: 'login_required' | 'key_host_mismatch',
  message: string,
  hint: string,
  key?: KeyFacts,
): Found {
  return { kind: 'refused', source, error: new BrokerError(code, message, { hint }), ...defined({ key }) }
}
