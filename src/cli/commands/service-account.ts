/** `prefect-auth service-account …`: keys that belong to no person. */

import { type Command, InvalidArgumentError } from 'commander'
import { DAY_MS, SECOND_MS } from '../../std/clock.js'
import { defined } from '../../std/defined.js'
import { parseDuration } from '../../std/time.js'
import type { RotateBotAnswer, ServiceAccountList } from '../../wire/service-accounts.js'
import { usageError } from '../failure.js'
import { endOf, type Lifetime, parseLifetime } from '../lifetime.js'
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

interface CreateOptions extends CommonOptions {
  readonly owner?: string
  readonly expires?: Lifetime
  readonly role?: string
}

interface DeleteOptions extends CommonOptions {
  readonly yes?: boolean
}

/** It is renewed by hand. */
const ACCOUNT_KEY_LIFETIME: Lifetime = { kind: 'for', ms: 90 * DAY_MS }

export function addServiceAccount(program: Command, start: Start): void {
  const accounts = program
    .command('service-account')
    .description('list, create, rotate and delete service accounts: keys that belong to no person')
  withNames(common(accounts.command('ls')))
    .description("list the service accounts of the account of the profile's workspace")
    .action((options: ListOptions) =>
      start('service-account ls', options, async (session) => {
        const list = await session.client.serviceAccounts(session.profile)
        const names = () => formatNames(list.service_accounts.map(({ name }) => name))
        session.answer(list, options.names === true ? names : () => describeList(list, session.width))
      }),
    )
  common(accounts.command('create <name>'))
    .description(
      "create a service account, using an account Admin's key, and keep its key for --profile, which is created if it is not there",
    )
    .option('--owner <profile>', 'the profile whose key creates it (default: the active one)')
    .option(
      '--expires <when>',
      'of its key: a date, a time, 30m, 8h, 90d, or never (default: 90d)',
      parseLifetime,
    )
    .option('--role <name>', 'its role in the workspace of the profile, or none (default: Worker)')
    .action((name: string, options: CreateOptions) =>
      start('service-account create', options, (session) => create(session, name, options)),
    )
  common(accounts.command('delete <name>'))
    .description(
      'delete a service account, by name or id, and all its keys; never one whose key a profile uses',
    )
    .option('--yes', 'even if a profile may use its key, which cannot be told')
    .action((name: string, options: DeleteOptions) =>
      start('service-account delete', options, async (session) => {
        const { profile } = session
        const answer = await session.client.deleteServiceAccount(name, {
          ...defined({ profile }),
          ...(options.yes === true ? { sure: 'true' as const } : {}),
        })
        const gone = answer.outcome === 'deleted' ? 'deleted, with all its keys' : 'was already deleted'
        session.answer(
          answer,
          () => `Service account ${printable(answer.name)} (${printable(answer.id)}) ${gone}`,
        )
      }),
    )
  addRotate(accounts.command('rotate <name>'), start)
}

async function create(session: Session, name: string, options: CreateOptions): Promise<void> {
  const { owner, expires = ACCOUNT_KEY_LIFETIME, role } = options
  const { profile } = options
  if (profile === undefined) {
    throw usageError(
      'its key needs a profile that uses it',
      'prefect-auth service-account create NAME --profile PROFILE',
    )
  }
  const answer = await session.client.createServiceAccount({
    profile,
    name,
    ...defined({
      owner_profile: owner,
      expires_at: endOf(expires, session.terminal.now()),
      role: role === 'none' ? null : role,
    }),
  })
  session.answer(answer, () => {
    const { key, service_account } = answer
    const end = key.expires_at === undefined ? 'it never expires' : `it expires ${formatDate(key.expires_at)}`
    return `Created: profile ${printable(answer.profile)} has the key of service account ${printable(service_account)} (${printable(key.fingerprint)}); ${end}`
  })
}

function describeList({ service_accounts }: ServiceAccountList, width: number | undefined): string {
  if (service_accounts.length === 0) return 'No service accounts'
  return formatTable(
    ['NAME', 'KEY EXPIRES', 'PROFILES', 'ROLE', 'ID'],
    service_accounts.map(({ name, key, profiles, role, id }) => [
      name,
      key === undefined ? 'no key' : key.expires_at === undefined ? 'never' : formatDate(key.expires_at),
      profiles.join(', '),
      role ?? '',
      id,
    ]),
    { width, givesWay: ['ROLE', 'PROFILES', 'NAME'] },
  )
}

interface RotateOptions extends CommonOptions {
  readonly owner?: string
  /** Milliseconds. */
  readonly oldKeyLives?: number
  readonly expiresIn?: number
}

/** `service-account rotate`, and the older `keys rotate-service-account`. */
export function addRotate(command: Command, start: Start): void {
  common(command)
    .description(
      "create a new key for a service account, using an account Admin's key; --profile names the profile that uses it",
    )
    .option('--owner <profile>', 'the profile whose key creates the new one (default: the active one)')
    .option('--old-key-lives <duration>', 'how long the old key keeps working (default: 1d)', parseSpan)
    .option('--expires-in <duration>', 'lifetime of the new key (default: that of the old key)', parseSpan)
    .action((name: string, options: RotateOptions) =>
      start('service-account rotate', options, async (session) => {
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
        session.answer(answer, () => describeRotation(answer))
      }),
    )
}

function toSeconds(ms: number | undefined): number | undefined {
  return ms === undefined ? undefined : Math.round(ms / SECOND_MS)
}

function describeRotation({
  profile,
  service_account,
  share,
  key,
  old_key_expires_at,
}: RotateBotAnswer): string {
  if (share !== undefined || key === undefined || old_key_expires_at === undefined) {
    const name = printable(share ?? '')
    return `Profile ${printable(profile)} has the key of share ${name}: it is rotated as soon as every machine has the last one\nHow far it is: prefect-auth share status`
  }
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
