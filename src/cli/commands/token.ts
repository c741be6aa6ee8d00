/** `prefect-auth token …`: narrow, revocable tokens for programs that come over TCP or from a container. */
import { type Command, Option } from 'commander'
import { tokenPowers } from '../../wire/tokens.js'
import type { Session } from '../session.js'
import { type CommonOptions, type Start, withJson } from '../session.js'
import { formatTable, formatTime, printable } from '../text.js'

interface CreateOptions {
  readonly json?: boolean
  readonly name: string
  readonly power: (typeof tokenPowers)[number]
  readonly profile?: readonly string[]
  readonly expiresIn: string
}

export function addToken(program: Command, start: Start): void {
  const token = program.command('token').description('create, list and revoke tokens')
  withJson(token.command('create'))
    .description('make a token; it is shown once, on stdout')
    .requiredOption('--name <name>', 'what it is for')
    .addOption(new Option('--power <power>', 'what it may').choices(tokenPowers).default('proxy'))
    .option('-p, --profile <name...>', 'for which profiles; * for all; else the active one')
    .option('--expires-in <duration>', 'as 30m, 8h, 7d; at most 365d', '8h')
    .action(({ profile, ...options }: CreateOptions) =>
      start('token create', options, (session) => createToken(session, options, profile)),
    )
  withJson(token.command('ls'))
    .description('the tokens that live')
    .action((options: CommonOptions) =>
      start('token ls', options, async (session) => {
        const list = await session.client.tokens()
        session.answer(list, () => (list.tokens.length === 0 ? 'No tokens' : describe(list.tokens)))
      }),
    )
  withJson(token.command('revoke <id>'))
    .description('end a token at once, by the id that token ls shows')
    .action((id: string, options: CommonOptions) =>
      start('token revoke', options, async (session) => {
        session.answer(await session.client.revokeToken(id), () => `Token ${printable(id)} revoked`)
      }),
    )
}

async function createToken(
  session: Session,
  { name, power, expiresIn }: Omit<CreateOptions, 'profile'>,
  named: readonly string[] | undefined,
): Promise<void> {
  const profiles = named ?? (session.profile === undefined ? undefined : [session.profile])
  const answer = await session.client.createToken({
    name,
    power,
    expires_in: expiresIn,
    ...(profiles === undefined ? {} : { profiles: [...profiles] }),
  })
  session.answer(answer, () => answer.token)
  const reach = `power ${answer.power}, profiles ${printable(answer.profiles.join(', '))}`
  session.say(
    `Token ${printable(answer.id)}: shown this once; ${reach}, until ${formatTime(answer.expires_at)} UTC`,
  )
}

function describe(tokens: Awaited<ReturnType<Session['client']['tokens']>>['tokens']): string {
  return formatTable(
    ['ID', 'NAME', 'POWER', 'PROFILES', 'EXPIRES (UTC)', 'LAST USED (UTC)'],
    tokens.map((token) => [
      token.id,
      token.name,
      token.power,
      token.profiles.join(','),
      formatTime(token.expires_at),
      token.last_used_at === undefined ? 'never' : formatTime(token.last_used_at),
    ]),
  )
}
