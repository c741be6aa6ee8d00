/** `prefect-auth keys …` and `renew`: the keys we hold, those at Prefect, and their renewal. */

import { type Command, Option } from 'commander'
import { defined } from '../../std/defined.js'
import type { KeyList, RenewAnswer } from '../../wire/keys.js'
import { usageError } from '../failure.js'
import { lastGiven } from '../key-use.js'
import { DEFAULT_LIFETIME, endOf, type Lifetime, parseLifetime } from '../lifetime.js'
import {
  type CommonOptions,
  common,
  type ListOptions,
  profileName,
  type Session,
  type Start,
  withNames,
} from '../session.js'
import { formatDate, formatNames, formatTable, printable } from '../text.js'
import { addPrune } from './prune.js'
import { addRotate } from './service-account.js'

interface CreateOptions extends CommonOptions {
  readonly name?: string
  readonly expires?: Lifetime
  readonly expiresIn?: Lifetime
}

interface DeleteOptions extends CommonOptions {
  readonly yes?: boolean
}

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
  common(keys.command('create [name]'))
    .description('create a key at Prefect for other use; printed once, on stdout')
    .option('--name <name>', 'the same as the argument: what a person reads on the key page of Prefect')
    .option(
      '--expires <when>',
      'a date (2027-01-31: its first moment, UTC), a time (RFC 3339), 30m, 8h, 90d, or never (default: 30d)',
      parseLifetime,
    )
    .addOption(new Option('--expires-in <duration>').argParser(parseLifetime).hideHelp())
    .action((argument: string | undefined, options: CreateOptions) =>
      start('keys create', options, (session) => {
        const name = argument ?? options.name
        if (name === undefined)
          throw usageError('the key has no name', 'prefect-auth keys create --name NAME')
        return createKey(session, name, options.expires ?? options.expiresIn ?? DEFAULT_LIFETIME)
      }),
    )
  common(keys.command('delete <id>'))
    .description('delete a key at Prefect, by its id from keys ls; never one that a profile uses')
    .option('--yes', 'even if it may be the key of a profile, whose id Prefect never told')
    .action((id: string, options: DeleteOptions) =>
      start('keys delete', options, async (session) => {
        const { profile } = session
        const answer = await session.client.deleteKey(id, {
          ...defined({ profile }),
          ...(options.yes === true ? { sure: 'true' as const } : {}),
        })
        session.answer(answer, () => `Key ${printable(answer.id)} ${GONE[answer.outcome]}`)
      }),
    )
  addPrune(keys, start)
  addRotate(keys.command('rotate-service-account <name>', { hidden: true }), start)
}

const GONE = {
  deleted: 'deleted',
  already_gone: 'was already deleted',
  forgotten: "forgotten here; it is a service account's, and works at Prefect until it expires",
} as const

async function createKey(session: Session, name: string, wanted: Lifetime): Promise<void> {
  const { profile, client, terminal } = session
  const expiry = endOf(wanted, terminal.now())
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
      key.share === undefined ? (key.origin?.replace('_', ' ') ?? '') : `share ${key.share}`,
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
