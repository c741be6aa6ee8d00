/** `prefect-auth keys …` and `renew`: the keys we hold, those at Prefect, and their renewal. */

import { type Command, InvalidArgumentError } from 'commander'
import { DAY_MS, SECOND_MS } from '../../std/clock.js'
import { defined } from '../../std/defined.js'
import { parseDuration } from '../../std/time.js'
import type { KeyList, RenewAnswer, RotateBotAnswer } from '../../wire/keys.js'
import { lastGiven } from '../key-use.js'
import {
  type CommonOptions,
  common,
  type ListOptions,
  profileName,
  type Session,
  type Start,
  withNames,
} from '../session.js'
import { formatDate, formatNames, formatTable, formatTime, printable } from '../text.js'
import { addPrune } from './prune.js'

interface CreateOptions extends CommonOptions {
  /** Milliseconds; `never`. */
  readonly expiresIn?: number | 'never'
}

/** The lifetime of a key from the browser. */
const DEFAULT_LIFETIME_MS = 30 * DAY_MS

export function addKeys(program: Command, start: Start): void {
  const keys = program.command('keys').description('list, create and delete API keys')
  withNames(common(keys.command('ls').alias('list')))
    .description('list the keys: in use, retired, and listed at Prefect')
    .action((options: ListOptions) =>
      start('keys ls', options, async (session) => {
        const list = await session.client.keys(session.profile)
        if (options.names === true)
          return session.answer(list, () => formatNames(list.keys.flatMap(({ id }) => id ?? [])))
        const given = session.isJson ? new Map<string, string>() : await lastGiven(session)
        session.answer(list, () => describeKeys(list, given, session.width))
        if (!session.isJson) for (const notice of list.notices) session.say(`note: ${printable(notice)}`)
      }),
    )
  common(keys.command('create <name>'))
    .description('create a key at Prefect for other use; printed once, on stdout')
    .option('--expires-in <duration>', 'such as 30m, 8h or 90d, or never (default: 30d)', parseLifetime)
    .action((name: string, options: CreateOptions) =>
      start('keys create', options, (session) =>
        createKey(session, name, options.expiresIn ?? DEFAULT_LIFETIME_MS),
      ),
    )
  common(keys.command('delete <id>'))
    .description('delete a key at Prefect, by its id from keys ls')
    .action((id: string, options: CommonOptions) =>
      start('keys delete', options, async (session) => {
        const answer = await session.client.deleteKey(id, session.profile)
        const gone = answer.outcome === 'deleted' ? 'deleted' : 'was already deleted'
        session.answer(answer, () => `Key ${printable(answer.id)} ${gone}`)
      }),
    )
  addPrune(keys, start)
  addRotateServiceAccount(keys, start)
}

async function createKey(session: Session, name: string, expiresIn: number | 'never'): Promise<void> {
  const { profile, client, terminal } = session
  const expiry = expiresIn === 'never' ? undefined : new Date(terminal.now() + expiresIn).toISOString()
  const answer = await client.createKey({ name, ...defined({ expires_at: expiry, profile }) })
  session.answer(answer, () => answer.key)
  const life =
    answer.expires_at === undefined ? 'it never expires' : `it expires ${formatDate(answer.expires_at)}`
  session.say(`Key ${printable(answer.name)} (${printable(answer.id)}): not shown again; ${life}`)
}

/** `given`: when each key last left the daemon. */
function describeKeys(
  { keys }: KeyList,
  given: ReadonlyMap<string, string>,
  width: number | undefined,
): string {
  if (keys.length === 0) return 'No keys'
  return formatTable(
    ['PROFILE', 'STATE', 'FINGERPRINT', 'EXPIRES', 'LAST GIVEN', 'ORIGIN', 'ID', 'NAME'],
    keys.map((key) => [
      key.profile,
      key.state.replace('_', ' '),
      key.fingerprint ?? '',
      expiryOf(key),
      lastOf(given.get(key.fingerprint ?? '')),
      key.origin?.replace('_', ' ') ?? '',
      key.id ?? '',
      key.name ?? '',
    ]),
    { width, givesWay: ['NAME', 'ORIGIN', 'FINGERPRINT', 'LAST GIVEN', 'PROFILE'] },
  )
}

function lastOf(time: string | undefined): string {
  return time === undefined ? '' : formatDate(time)
}

function expiryOf({ state, origin, expires_at, expiry_assumed }: KeyList['keys'][number]): string {
  if (expires_at === undefined) return origin === 'minted' || state === 'at_prefect' ? 'never' : 'unknown'
  return `${expiry_assumed === true ? '~' : ''}${formatDate(expires_at)}`
}

/** For commander, whose error names the option. */
function parseLifetime(text: string): number | 'never' {
  if (text === 'never') return 'never'
  const ms = parseDuration(text)
  if (ms !== undefined && ms > 0) return ms
  throw new InvalidArgumentError('Expected a duration like 30m, 8h or 90d, or never.')
}

interface RotateOptions extends CommonOptions {
  readonly owner?: string
  /** Milliseconds. */
  readonly oldKeyLives?: number
  readonly expiresIn?: number
}

function addRotateServiceAccount(keys: Command, start: Start): void {
  common(keys.command('rotate-service-account <name>'))
    .description(
      "create a new key for a service account, using an owner's key; --profile names the profile that uses it",
    )
    .option('--owner <profile>', 'the profile whose key creates the new one (default: the active one)')
    .option('--old-key-lives <duration>', 'how long the old key keeps working (default: 1d)', parseSpan)
    .option('--expires-in <duration>', 'lifetime of the new key (default: that of the old key)', parseSpan)
    .action((name: string, options: RotateOptions) =>
      start('keys rotate-service-account', options, async (session) => {
        const profile = await profileName(session)
        const { owner, oldKeyLives, expiresIn } = options
        const answer = await session.client.rotateServiceAccount({
          profile,
          name,
          ...defined({
            owner_profile: owner,
            old_key_lives_s: toSeconds(oldKeyLives),
            expires_in_s: toSeconds(expiresIn),
          }),
        })
        session.answer(answer, () => describe(answer))
      }),
    )
}

function toSeconds(ms: number | undefined): number | undefined {
  return ms === undefined ? undefined : Math.round(ms / SECOND_MS)
}

function describe({ profile, service_account, key, old_key_expires_at }: RotateBotAnswer): string {
  const end = key.expires_at === undefined ? 'it never expires' : `it expires ${formatDate(key.expires_at)}`
  return [
    `Rotated: profile ${printable(profile)} has a new key of ${printable(service_account)} (${printable(key.fingerprint)}); ${end}`,
    `The old key works until ${formatTime(old_key_expires_at)} UTC`,
  ].join('\n')
}

/** For commander, whose error names the option. */
function parseSpan(text: string): number {
  const ms = parseDuration(text)
  if (ms !== undefined) return ms
  throw new InvalidArgumentError('Expected a duration like 30m, 8h or 90d.')
}

interface RenewOptions extends CommonOptions {
  readonly now?: boolean
}

export function addRenew(program: Command, start: Start): void {
  common(program.command('renew'))
    .description('renew the key if it is due; the daemon does this on its own')
    .option('--now', 'renew now, even if it is not due')
    .action((options: RenewOptions) =>
      start('renew', options, async (session) => {
        const profile = await profileName(session)
        const answer = await session.client.renew(profile, { if_due: options.now !== true })
        session.answer(answer, () => describeRenewal(answer))
      }),
    )
}

function describeRenewal({ profile, outcome, key }: RenewAnswer): string {
  const { fingerprint, expires_at, renews_at } = key
  const end = expires_at === undefined ? 'it never expires' : `it expires ${formatDate(expires_at)}`
  const next = renews_at === undefined ? '' : `, to be renewed on ${formatDate(renews_at)}`
  const what = outcome === 'renewed' ? 'Renewed' : 'Not due yet'
  return `${what}: profile ${printable(profile)}, key ${printable(fingerprint)}; ${end}${next}`
}
