/** `prefect-auth token …`: narrow, revocable tokens for programs that use TCP or run in a container. */
import { type Command, InvalidArgumentError, Option } from 'commander'
import { defined } from '../../std/defined.js'
import { parseDuration } from '../../std/time.js'
import { type TokenView, tokenPowers } from '../../wire/tokens.js'
import { usageError } from '../failure.js'
import { readLimits } from '../fast/limits.js'
import { addLimits } from '../limit-flags.js'
import type { Session } from '../session.js'
import { type CommonOptions, type ListOptions, type Start, withJson, withNames } from '../session.js'
import { formatNames, formatTable, formatTime, printable } from '../text.js'
import { addTokenPolicies, addTokenShow, policyOf } from './token-policy.js'

interface CreateOptions {
  readonly json?: boolean
  readonly name: string
  readonly power: (typeof tokenPowers)[number]
  readonly profile?: readonly string[]
  readonly expiresIn: string
  readonly may?: string
  readonly allow?: readonly string[]
  readonly deny?: readonly string[]
  readonly ask?: string
  readonly writesPerHour?: string
  readonly requestsPerMinute?: string
}

interface KeepOptions extends CommonOptions {
  readonly all?: boolean
}

export function addToken(program: Command, start: Start): void {
  const token = program.command('token').description('create, list and revoke tokens')
  const create = withJson(token.command('create'))
    .description('create a token; printed once, on stdout')
    .requiredOption('--name <name>', 'what it is for')
    .addOption(new Option('--power <power>', 'what it may do').choices(tokenPowers).default('proxy'))
    .option('-p, --profile <name...>', 'the profiles it may use, * for all (default: the active one)')
    .option('--expires-in <duration>', 'such as 30m, 8h or 7d; at most 365d', checkDuration, '8h')
    .action(({ profile, ...options }: CreateOptions) =>
      start('token create', options, (session) => createToken(session, options, profile)),
    )
  addLimits(create)
  withNames(withJson(token.command('ls').alias('list')))
    .description('list the active tokens')
    .action((options: ListOptions) =>
      start('token ls', options, async (session) => {
        const list = await session.client.tokens()
        if (options.names === true)
          return session.answer(list, () => formatNames(list.tokens.map(({ id }) => id)))
        session.answer(list, () =>
          list.tokens.length === 0 ? 'No tokens' : describe(list.tokens, session.width),
        )
      }),
    )
  addTokenShow(token, start)
  addTokenPolicies(token, start)
  withJson(token.command('keep [id]'))
    .description('end the parking of a token: another user held our TCP port, and you know who it was')
    .option('--all', 'of all parked tokens')
    .action((id: string | undefined, options: KeepOptions) =>
      start('token keep', options, (session) => keepTokens(session, id, options.all === true)),
    )
  withJson(token.command('revoke <id>'))
    .description('revoke a token at once, by its id from token ls')
    .action((id: string, options: CommonOptions) =>
      start('token revoke', options, async (session) => {
        session.answer(await session.client.revokeToken(id), () => `Token ${printable(id)} revoked`)
      }),
    )
}

/** For commander, whose error names the option; the daemon parses it again. */
function checkDuration(text: string): string {
  if (parseDuration(text) !== undefined) return text
  throw new InvalidArgumentError('Expected a duration like 30m, 8h or 7d, at most 365d.')
}

async function createToken(
  session: Session,
  { name, power, expiresIn, ...flags }: Omit<CreateOptions, 'profile'>,
  named: readonly string[] | undefined,
): Promise<void> {
  const limits = limitsIn(flags)
  const profiles = named ?? (session.profile === undefined ? undefined : [session.profile])
  const answer = await session.client.createToken({
    name,
    power,
    expires_in: expiresIn,
    ...defined({ profiles: profiles && [...profiles] }),
    ...limits,
  })
  session.answer(answer, () => answer.token)
  const reach = `power ${answer.power}, profiles ${printable(answer.profiles.join(', '))}${limitsOf(answer)}`
  session.say(
    `Token ${printable(answer.id)}: not shown again; ${reach}, until ${formatTime(answer.expires_at)} UTC`,
  )
}

/** Throws a usage error. */
function limitsIn({ may, allow, deny, ask, writesPerHour, requestsPerMinute }: Partial<CreateOptions>) {
  const flags = Object.entries({
    may: may && [may],
    allow,
    deny,
    ask: ask && [ask],
    'writes-per-hour': writesPerHour && [writesPerHour],
    'requests-per-minute': requestsPerMinute && [requestsPerMinute],
  })
  const given = flags.flatMap(([name, values]) => (values ? [[name, values] as const] : []))
  const read = readLimits(new Map(given))
  if (read.kind === 'usage') throw usageError(read.message, 'prefect-auth token policies')
  const { allow: more, deny: less, ...rest } = read.value
  return { ...rest, ...defined({ allow: more && [...more], deny: less && [...less] }) }
}

/** `, policy read`; nothing without limits. */
function limitsOf(token: TokenView): string {
  const policy = policyOf(token)
  return policy === 'all' || policy === '' ? '' : `, policy ${policy}`
}

async function keepTokens(session: Session, id: string | undefined, isAll: boolean): Promise<void> {
  if ((id === undefined) !== isAll) {
    throw usageError(
      'name one token, or all of them',
      'prefect-auth token ls      (then: token keep ID, or token keep --all)',
    )
  }
  const answer = await session.client.keepTokens(id === undefined ? { all: true } : { id })
  session.answer(answer, () =>
    answer.tokens.length === 0
      ? 'No token was parked'
      : answer.tokens
          .map(({ id, name }) => `Token ${printable(id)} (${printable(name)}) is accepted again`)
          .join('\n'),
  )
}

function describe(
  tokens: Awaited<ReturnType<Session['client']['tokens']>>['tokens'],
  width: number | undefined,
): string {
  const isAnyParked = tokens.some(({ parked_at }) => parked_at !== undefined)
  const parkedColumn = (text: string) => (isAnyParked ? [text] : [])
  return formatTable(
    [
      'ID',
      'NAME',
      'POWER',
      'POLICY',
      'PROFILES',
      'EXPIRES (UTC)',
      'LAST USED (UTC)',
      ...parkedColumn('STATE'),
    ],
    tokens.map((token) => [
      token.id,
      token.name,
      token.power,
      policyOf(token),
      token.profiles.join(','),
      formatTime(token.expires_at),
      token.last_used_at === undefined ? 'never' : formatTime(token.last_used_at),
      ...parkedColumn(token.parked_at === undefined ? 'active' : 'parked'),
    ]),
    { width, givesWay: ['LAST USED (UTC)', 'NAME', 'PROFILES', 'EXPIRES (UTC)'] },
  )
}
