/** `prefect-auth keys …`: the keys we hold and those at Prefect. */

import { type Command, InvalidArgumentError } from 'commander'
import { defined } from '../../std/defined.js'
import { parseDuration } from '../../std/time.js'
import type { KeyList, RenewAnswer, RotateBotAnswer } from '../../wire/keys.js'
import { type CommonOptions, common, profileName, type Session, type Start } from '../session.js'
import { formatDate, formatTable, formatTime, printable } from '../text.js'

interface CreateOptions extends CommonOptions {
  /** Milliseconds; `never`. */
  readonly expiresIn?: number | 'never'
}

/** As long as a key from the browser lives. */
const DEFAULT_LIFE_MS = 30 * 24 * 3_600_000

export function addKeys(program: Command, start: Start): void {
  const keys = program.command('keys').description('list, create and delete API keys')
  common(keys.command('ls'))
    .description('the keys we know: served, retired, and listed at Prefect')
    .action((options: CommonOptions) =>
      start('keys ls', options, async (session) => {
        const list = await session.client.keys(session.profile)
        session.answer(list, () => describeKeys(list))
        if (!session.isJson) for (const notice of list.notices) session.say(`note: ${printable(notice)}`)
      }),
    )
  common(keys.command('create <name>'))
    .description('make a key at Prefect for something else; it is shown once, on stdout')
    .option('--expires-in <duration>', 'as 30m, 8h, 90d; or never (default: 30d)', parseLife)
    .action((name: string, options: CreateOptions) =>
      start('keys create', options, (session) =>
        createKey(session, name, options.expiresIn ?? DEFAULT_LIFE_MS),
      ),
    )
  common(keys.command('delete <id>'))
    .description('delete a key at Prefect, by the id that keys ls shows')
    .action((id: string, options: CommonOptions) =>
      start('keys delete', options, async (session) => {
        const answer = await session.client.deleteKey(id, session.profile)
        const gone = answer.outcome === 'deleted' ? 'deleted' : 'was gone already'
        session.answer(answer, () => `Key ${printable(answer.id)} ${gone}`)
      }),
    )
  addRotateServiceAccount(keys, start)
}

async function createKey(session: Session, name: string, expiresIn: number | 'never'): Promise<void> {
  const { profile, client, terminal } = session
  const expiry =
    expiresIn === 'never' ? {} : { expires_at: new Date(terminal.now() + expiresIn).toISOString() }
  const answer = await client.createKey({ name, ...expiry, ...defined({ profile }) })
  session.answer(answer, () => answer.key)
  const life =
    answer.expires_at === undefined ? 'it never expires' : `it expires ${formatDate(answer.expires_at)}`
  session.say(`Key ${printable(answer.name)} (${printable(answer.id)}): shown this once; ${life}`)
}

function describeKeys({ keys }: KeyList): string {
  if (keys.length === 0) return 'No keys'
  return formatTable(
    ['PROFILE', 'STATE', 'FINGERPRINT', 'EXPIRES', 'ORIGIN', 'ID', 'NAME'],
    keys.map((key) => [
      key.profile,
      key.state.replace('_', ' '),
      key.fingerprint ?? '',
      expiryOf(key),
      key.origin?.replace('_', ' ') ?? '',
      key.id ?? '',
      key.name ?? '',
    ]),
  )
}

function expiryOf({ state, origin, expires_at, expiry_assumed }: KeyList['keys'][number]): string {
  if (expires_at === undefined) return origin === 'minted' || state === 'at_prefect' ? 'never' : 'not known'
  return `${expiry_assumed === true ? '~' : ''}${formatDate(expires_at)}`
}

/** For commander: its error names the option. */
function parseLife(text: string): number | 'never' {
  if (text === 'never') return 'never'
  const ms = parseDuration(text)
  if (ms === undefined || ms <= 0) throw new InvalidArgumentError('It is like 30m, 8h or 90d; or never.')
  return ms
}

interface RotateOptions extends CommonOptions {
  readonly owner?: string
  /** Milliseconds. */
  readonly oldKeyLives?: number
  readonly expiresIn?: number
}

function addRotateServiceAccount(keys: Command, start: Start): void {
  common(keys.command('rotate-service-account <name>'))
    .description("make a new key for a service account with an owner's key; --profile names who uses it")
    .option('--owner <profile>', "the profile whose owner's key asks Prefect (default: the active one)")
    .option('--old-key-lives <duration>', 'how long the old key goes on working (default: 1d)', parseSpan)
    .option('--expires-in <duration>', 'life of the new key (default: as long as the one before)', parseSpan)
    .action((name: string, options: RotateOptions) =>
      start('keys rotate-service-account', options, async (session) => {
        const profile = await profileName(session)
        const { owner, oldKeyLives, expiresIn } = options
        const answer = await session.client.rotateServiceAccount({
          profile,
          name,
          ...defined({ owner_profile: owner }),
          ...(oldKeyLives === undefined ? {} : { old_key_lives_s: Math.round(oldKeyLives / 1000) }),
          ...(expiresIn === undefined ? {} : { expires_in_s: Math.round(expiresIn / 1000) }),
        })
        session.answer(answer, () => describe(answer))
      }),
    )
}

function describe({ profile, service_account, key, old_key_expires_at }: RotateBotAnswer): string {
  const end = key.expires_at === undefined ? 'without end' : `until ${formatDate(key.expires_at)}`
  return [
    `Rotated: profile ${printable(profile)} has a new key of ${printable(service_account)} (${printable(key.fingerprint)}), ${end}`,
    `The old key works until ${formatTime(old_key_expires_at)} UTC`,
  ].join('\n')
}

/** For commander: its error names the option. */
function parseSpan(text: string): number {
  const ms = parseDuration(text)
  if (ms === undefined || ms < 0) throw new InvalidArgumentError('It is like 30m, 8h or 90d.')
  return ms
}

interface RenewOptions extends CommonOptions {
  readonly now?: boolean
}

export function addRenew(program: Command, start: Start): void {
  common(program.command('renew'))
    .description('renew the key where it is time; the daemon does it by itself')
    .option('--now', 'renew on the spot, whether it is time or not')
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
  const end = expires_at === undefined ? 'it does not expire' : `it expires ${formatDate(expires_at)}`
  const next = renews_at === undefined ? '' : `, and is renewed on ${formatDate(renews_at)}`
  const what = outcome === 'renewed' ? 'Renewed' : 'Not yet'
  return `${what}: profile ${printable(profile)}, key ${printable(fingerprint)}; ${end}${next}`
}
