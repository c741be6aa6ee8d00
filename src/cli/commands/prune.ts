/** `prefect-auth keys prune`: our own keys that were replaced and still work at Prefect, explained and ended. */
import type { Command } from 'commander'
import { failureOf } from '../../client/failure.js'
import { defined } from '../../std/defined.js'
import type { KeyEntry } from '../../wire/keys.js'
import { findHolders, type Holder } from '../holders.js'
import { lastGiven } from '../key-use.js'
import { type CommonOptions, common, type Session, type Start } from '../session.js'
import { counted, formatDate, formatTable, formatTime, printable } from '../text.js'

interface PruneOptions extends CommonOptions {
  readonly yes?: boolean
}

/** One old key, and what is done with it. */
interface OldKey {
  readonly id: string
  readonly profile: string
  readonly outcome:
    | 'would_end'
    | 'would_forget'
    | 'kept'
    | 'deleted'
    | 'already_gone'
    | 'forgotten'
    | 'failed'
  /** Why it is kept, or could not be ended. */
  readonly why?: string
  readonly name?: string
  readonly fingerprint: string
  readonly retired_at?: string
  readonly expires_at?: string
  readonly last_given_at?: string
}

export function addPrune(keys: Command, start: Start): void {
  common(keys.command('prune'))
    .description('explain which replaced keys of ours still work at Prefect; --yes ends them there')
    .option('--yes', 'end them; without it nothing is changed')
    .action((options: PruneOptions) => start('keys prune', options, (session) => prune(session, options)))
}

async function prune(session: Session, { yes = false }: PruneOptions): Promise<number> {
  const { client, profile } = session
  const { keys } = await client.keys(profile)
  const given = await lastGiven(session)
  const holders = findHolders()
  const old: OldKey[] = []
  for (const key of keys) {
    // Keys that only Prefect lists may be those of another machine.
    const isOurs = key.origin === 'minted' || key.share !== undefined
    if (key.state !== 'retired' || !isOurs) continue
    const found = explain(key, given, holders)
    if (found !== undefined) old.push(yes && isToGo(found) ? await end(session, found) : found)
  }
  session.answer({ keys: old }, () => describe(old, session.width))
  if (!yes && old.some(isToGo)) {
    session.say(
      'Processes in containers and on other machines that got one of these keys are not seen from here.',
    )
    session.say('Nothing was changed. To end the keys: prefect-auth keys prune --yes')
  }
  return old.some(({ outcome }) => outcome === 'failed') ? 1 : 0
}

/** `undefined` for a key whose end Prefect cannot be told, because it never gave an id. */
function explain(
  key: KeyEntry,
  given: ReadonlyMap<string, string>,
  holders: ReturnType<typeof findHolders>,
): OldKey | undefined {
  const { id, profile, name, fingerprint = '', retired_at, expires_at } = key
  if (id === undefined) return undefined
  const facts = {
    ...{ id, profile, fingerprint },
    ...defined({ name, retired_at, expires_at, last_given_at: given.get(fingerprint) }),
  }
  // Only our copy goes: a job that has it goes on.
  if (key.share !== undefined) {
    const why = `share ${key.share}: only the copy here is forgotten; at Prefect it works until it expires`
    return { ...facts, outcome: 'would_forget', why }
  }
  const why = whyKept(key.handed_out === true, holders?.get(fingerprint), holders !== undefined)
  return why === undefined ? { ...facts, outcome: 'would_end' } : { ...facts, outcome: 'kept', why }
}

const isToGo = ({ outcome }: OldKey) => outcome === 'would_end' || outcome === 'would_forget'

/** A running job must not die of it. */
function whyKept(
  isHandedOut: boolean,
  holders: readonly Holder[] | undefined,
  canLook: boolean,
): string | undefined {
  const [first] = holders ?? []
  if (first !== undefined) return `process ${first.pid} (${first.name}) has it in its environment`
  return isHandedOut && !canLook
    ? 'a process got it, and this system does not show which still has it'
    : undefined
}

/** The daemon looks once more, in the profile's turn, and refuses a key that anything uses. */
async function end({ client }: Session, key: OldKey): Promise<OldKey> {
  try {
    return { ...key, outcome: (await client.deleteKey(key.id, { profile: key.profile })).outcome }
  } catch (error) {
    const failure = failureOf(error)
    if (failure === undefined) throw error
    return { ...key, outcome: 'failed', why: failure.detail }
  }
}

const SAID = {
  would_end: 'would be ended',
  would_forget: 'would be forgotten here',
  kept: 'kept',
  deleted: 'ended',
  already_gone: 'was gone already',
  forgotten: 'forgotten here',
  failed: 'not ended',
} as const

function describe(old: readonly OldKey[], width: number | undefined): string {
  if (old.length === 0) return 'No replaced key of ours is left at Prefect'
  const table = formatTable(
    ['ID', 'PROFILE', 'REPLACED', 'EXPIRES', 'LAST GIVEN (UTC)', 'OUTCOME'],
    old.map(({ id, profile, retired_at, expires_at, last_given_at, outcome }) => [
      id,
      profile,
      retired_at === undefined ? '' : formatDate(retired_at),
      expires_at === undefined ? 'never' : formatDate(expires_at),
      last_given_at === undefined ? '' : formatTime(last_given_at),
      SAID[outcome],
    ]),
    { width, givesWay: ['PROFILE', 'ID'] },
  )
  const reasons = old.flatMap(({ id, why }) =>
    why === undefined ? [] : [`${printable(id)}: ${printable(why)}`],
  )
  return [`${counted(old.length, 'key')} of ours that a newer one replaced:`, table, ...reasons].join('\n')
}
