/** `prefect-auth keys …`: the keys we hold and those at Prefect. */
import { type Command, InvalidArgumentError } from 'commander'
import { parseDuration } from '../../std/time.js'
import type { KeyList } from '../../wire/keys.js'
import type { Session } from '../context.js'
import { printable } from '../printable.js'
import { type CommonOptions, common, type Start } from '../start.js'
import { formatTable } from '../table.js'
import { formatDate } from '../when.js'
import { addRotateServiceAccount } from './rotate-service-account.js'

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
  const answer = await client.createKey({ name, ...expiry, ...(profile === undefined ? {} : { profile }) })
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
