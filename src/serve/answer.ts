/** Pure: what is served for one profile, out of what the file says and what we hold; or why nothing is. */

import { BrokerError } from '../base/errors.js'
import type { KeyKeeper } from '../keys/keeper.js'
import { type KeyFacts, type KeyRecord, keyFacts, type ProfileRecord } from '../keys/ledger.js'
import { workspaceHandle } from '../prefect/cloud.js'
import { shownName } from '../profiles/bundled.js'
import type { ResolvedProfile } from '../profiles/profile.js'
import { defined } from '../std/defined.js'
import { loginCommand, quoteWord } from '../std/text.js'
import type { ProfileState, Served } from './credentials.js'

interface AnswerInputs {
  readonly resolved: ResolvedProfile
  readonly keeper: Pick<KeyKeeper, 'held' | 'keyOf' | 'ledger' | 'profile'>
  readonly generation: number
  readonly renewsAt?: (item: string) => number | undefined
}

/** A secret and where it came from, or why there is none. */
type Found =
  | {
      readonly kind: 'found'
      readonly source: 'vault' | 'file'
      readonly part: Pick<Served, 'apiKey' | 'authString' | 'key' | 'item'>
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
  const { resolved, keeper, generation } = inputs
  const record = keeper.profile(resolved.name)
  const found = find(inputs, record)
  const state = {
    resolved,
    generation,
    ...(record.owner ? { owner: record.owner } : {}),
    workspaces: record.workspaces,
    notices: notices(resolved, record),
  }
  if (found.kind === 'refused') {
    const { source, key } = found
    return { ...state, outcome: found, keySource: source, authSource: 'none', ...(key ? { key } : {}) }
  }
  const part = found.kind === 'found' ? found.part : {}
  const source = found.kind === 'found' ? found.source : 'none'
  return {
    ...state,
    keySource: part.apiKey ? source : 'none',
    authSource: part.authString ? source : 'none',
    ...(part.key ? { key: part.key } : {}),
    outcome: { kind: 'served', served: served(inputs, record, part) },
  }
}

function served(
  { resolved, generation }: AnswerInputs,
  record: ProfileRecord,
  part: Pick<Served, 'apiKey' | 'authString' | 'key' | 'item'>,
): Served {
  const { name, kind, apiUrl, cloudApiUrl, cloudUiUrl, workspace, because } = resolved
  const known = record.workspaces.find(({ workspaceId }) => workspaceId === workspace?.workspaceId)
  const isElsewhere = cloudApiUrl !== PREFECT_CLOUD
  return {
    profile: name,
    kind,
    ...defined({ apiUrl }),
    ...(isElsewhere ? { cloudApiUrl, cloudUiUrl } : {}),
    ...part,
    ...(workspace
      ? { workspace: { ...workspace, ...(known ? { handle: workspaceHandle(known) } : {}) } }
      : {}),
    // An owner we know belongs to a key we hold; whose a key in the file is, nobody has asked.
    ...(record.owner && part.item !== undefined && kind === 'cloud' ? { owner: record.owner } : {}),
    generation,
    because,
  }
}

function find(inputs: AnswerInputs, record: ProfileRecord): Found {
  switch (inputs.resolved.kind) {
    case 'cloud':
      return findKey(inputs, record)
    case 'server':
      return findAuthString(inputs, record)
    case 'none':
      return { kind: 'none' }
  }
}

/**
 * A key in the file that we do not know is newer than ours: someone ran `prefect cloud login`. One that we do know is a
 * mirror, perhaps an old one, of what we hold.
 */
function findKey(inputs: AnswerInputs, record: ProfileRecord): Found {
  const { resolved, keeper } = inputs
  const { fileKey } = resolved
  const held = findHeldKey(inputs, record)
  if (fileKey === undefined || fileKey.length === 0) return held
  const fingerprint = fileKey.fingerprint()
  const known = Object.values(keeper.ledger().keys).filter((key) => key.fingerprint === fingerprint)
  // Whatever stands in the file: a key of which we know that it belongs to another host does not go to this one.
  const foreign = known.find(({ cloudApiUrl }) => cloudApiUrl !== resolved.cloudApiUrl)
  if (foreign !== undefined) return hostMismatch(resolved, foreign)
  const ours = known.filter(({ profile }) => profile === resolved.name)
  if (ours.length > 0 && held.kind === 'found') return held
  if (ours.some(({ rejectedAt }) => rejectedAt !== undefined)) return held
  return { kind: 'found', source: 'file', part: { apiKey: fileKey, key: { fingerprint, origin: 'profile' } } }
}

function findHeldKey({ resolved, keeper, renewsAt }: AnswerInputs, record: ProfileRecord): Found {
  const { name, cloudApiUrl } = resolved
  const item = record.currentItem
  const key = item === undefined ? undefined : keeper.ledger().keys[item]
  if (item === undefined || key === undefined) {
    return refused('none', 'login_required', `profile ${shownName(name)} has no API key`, loginCommand(name))
  }
  const facts = keyFacts(key, renewsAt?.(item))
  if (key.rejectedAt !== undefined) {
    const message = `Prefect no longer accepts the key of profile ${shownName(name)}`
    return refused('vault', 'login_required', message, loginCommand(name), facts)
  }
  if (key.cloudApiUrl !== cloudApiUrl) return hostMismatch(resolved, key, facts)
  const apiKey = keeper.keyOf(item)
  if (apiKey !== undefined) return { kind: 'found', source: 'vault', part: { apiKey, key: facts, item } }
  const secret = keeper.held(item)
  if (secret.kind === 'failed') return { kind: 'refused', source: 'vault', error: secret.error, key: facts }
  const what =
    secret.kind === 'missing' ? 'is no longer in the vault' : 'in the vault is not the one we stored'
  return refused(
    'vault',
    'login_required',
    `the key of profile ${shownName(name)} ${what}`,
    loginCommand(name),
    facts,
  )
}

function hostMismatch(
  { name, cloudApiUrl }: ResolvedProfile,
  key: KeyRecord,
  facts: KeyFacts = keyFacts(key),
): Found {
  const message = `the key of profile ${shownName(name)} belongs to ${key.cloudApiUrl}, the profile now points at ${cloudApiUrl}`
  return refused('vault', 'key_host_mismatch', message, loginCommand(name), facts)
}

function findAuthString({ resolved, keeper }: AnswerInputs, record: ProfileRecord): Found {
  const { name, apiUrl, fileAuthString } = resolved
  if (fileAuthString !== undefined && fileAuthString.length > 0) {
    return { kind: 'found', source: 'file', part: { authString: fileAuthString } }
  }
  if (record.authItem === undefined) return { kind: 'none' }
  const secret = keeper.held(record.authItem)
  const command = `prefect-auth profile set ${quoteWord(name)} --auth-string-stdin`
  if (secret.kind === 'failed') return { kind: 'refused', source: 'vault', error: secret.error }
  if (secret.kind === 'missing') {
    return refused(
      'vault',
      'login_required',
      `the auth string of profile ${shownName(name)} is no longer in the vault`,
      command,
    )
  }
  if (secret.apiUrl !== apiUrl) {
    const message = `the auth string of profile ${shownName(name)} belongs to ${secret.apiUrl}, the profile now points elsewhere`
    return refused('vault', 'key_host_mismatch', message, command)
  }
  return { kind: 'found', source: 'vault', part: { authString: secret.secret, item: record.authItem } }
}

function refused(
  source: 'vault' | 'none',
  code: 'login_required' | 'key_host_mismatch',
  message: string,
  hint: string,
  key?: KeyFacts,
): Found {
  return { kind: 'refused', source, error: new BrokerError(code, message, { hint }), ...(key ? { key } : {}) }
}

function notices(resolved: ResolvedProfile, record: ProfileRecord): readonly string[] {
  const refusal = record.exchangeRefused
  return [...resolved.warnings, ...(refusal === undefined ? [] : [refusal])]
}
