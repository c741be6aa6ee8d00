/** `prefect-auth token show` and `token policies`: what a token may do at Prefect, and what it was refused. */
import type { Command } from 'commander'
import type { PolicyList } from '../../wire/policies.js'
import type { RefusedOperationView, TokenAnswer, TokenView } from '../../wire/tokens.js'
import type { ListOptions, Start } from '../session.js'
import { type CommonOptions, withJson, withNames } from '../session.js'
import { counted, formatNames, formatTable, formatTime, printable } from '../text.js'

interface ShowOptions extends CommonOptions {
  readonly operations?: boolean
}

export function addTokenShow(token: Command, start: Start): void {
  withJson(token.command('show <token>'))
    .description('show what a token may do and what it was refused, by its name or id')
    .option('--operations', 'list every operation that its policy includes')
    .action((wanted: string, options: ShowOptions) =>
      start('token show', options, async (session) => {
        const answer = await session.client.token(wanted)
        const isWhole = options.operations === true
        session.answer(answer, () => (isWhole ? listOf(answer) : describe(answer, session.width)))
      }),
    )
}

export function addTokenPolicies(token: Command, start: Start): void {
  withNames(withJson(token.command('policies')))
    .description('list the policies of tokens, and what each includes')
    .option('--operations', 'list every operation, and the policies that include it')
    .action((options: ListOptions & ShowOptions) =>
      start('token policies', options, async (session) => {
        const list = await session.client.policies()
        const isWhole = options.operations === true
        if (options.names === true) return session.answer(list, () => formatNames(namesIn(list, isWhole)))
        session.answer(list, () =>
          isWhole ? tableOf(list, session.width) : list.policies.map(describePolicy).join('\n'),
        )
      }),
    )
}

/** `read`, `run +1 -2`, `all, asks write, 20 writes/h`; empty where nothing goes through the proxy by a policy. */
export function policyOf(token: TokenView): string {
  const { power, may = 'all', allow = [], deny = [], ask } = token
  if (power !== 'proxy') return ''
  const more = allow.length === 0 ? '' : ` +${allow.length}`
  const less = deny.length === 0 ? '' : ` -${deny.length}`
  const { writes_per_hour: writes, requests_per_minute: requests } = token
  return [
    `${may}${more}${less}`,
    ...(ask === undefined ? [] : [`asks ${ask}`]),
    ...(writes === undefined ? [] : [`${writes} writes/h`]),
    ...(requests === undefined ? [] : [`${requests} requests/min`]),
  ].join(', ')
}

function describe(token: TokenAnswer, width: number | undefined): string {
  const { id, name, power, profiles, expires_at, sentence, operations, allow = [], deny = [], ask } = token
  const rows = [
    ['token', `${printable(id)} (${printable(name)})`],
    ['power', `${power}, profiles ${printable(profiles.join(', '))}, until ${formatTime(expires_at)} UTC`],
    ...(sentence === undefined ? [] : [['policy', `${token.may ?? 'all'}: ${printable(sentence)}`]]),
    ...(operations === undefined
      ? []
      : [['', `${counted(operations.length, 'operation')}; --operations lists them`]]),
    ...allow.map((operation) => ['allowed', printable(operation)]),
    ...deny.map((operation) => ['denied', printable(operation)]),
    ...(ask === undefined
      ? []
      : [['asks', ask === 'write' ? 'before it changes anything' : 'before everything']]),
    ...budgetOf(token).map((text) => ['budget', text]),
  ]
  const facts = rows.map(([label = '', text = '']) => `${label.padEnd(8)} ${text}`)
  return [...facts, ...describeRefused(token, width)].join('\n')
}

function budgetOf(token: TokenAnswer): readonly string[] {
  const { writes_per_hour: writes, requests_per_minute: requests } = token
  const { writes_last_hour: written = 0, requests_last_minute: sent = 0 } = token
  return [
    ...(writes === undefined ? [] : [`${counted(writes, 'write')} in an hour; ${written} in the last one`]),
    ...(requests === undefined
      ? []
      : [`${counted(requests, 'request')} in a minute; ${sent} in the last one`]),
  ]
}

function describeRefused(token: TokenAnswer, width: number | undefined): readonly string[] {
  const { refused = [] } = token
  if (refused.length === 0) return ['refused  nothing']
  const rows = refused.map((one) => [
    one.operation,
    counted(one.count, 'time'),
    formatTime(one.last_at),
    remedyFor(one, token),
  ])
  const header = ['REFUSED', 'HOW OFTEN', 'LAST (UTC)', 'A NEW TOKEN MAY WITH']
  return ['', formatTable(header, rows, { width, givesWay: ['LAST (UTC)'] })]
}

/** The flag that allows it. */
function remedyFor(
  { operation, by, allowed_by, effect }: RefusedOperationView,
  { deny = [] }: TokenView,
): string {
  if (by === 'proxy') return 'nothing: the proxy forwards it for nobody'
  if (by === 'budget') return 'a larger --writes-per-hour or --requests-per-minute; this one may again later'
  if (deny.includes(operation)) return 'no --deny for it'
  const policy = `--may ${allowed_by ?? 'all'}`
  return effect === undefined ? policy : `--allow '${operation}', or ${policy}`
}

function listOf({ operations }: TokenAnswer): string {
  return operations === undefined
    ? 'everything that the proxy forwards'
    : operations.map(printable).join('\n')
}

function describePolicy({ name, sentence, operations }: PolicyList['policies'][number]): string {
  return `${name.padEnd(7)} ${printable(sentence)} (${counted(operations.length, 'operation')})`
}

function namesIn({ policies, operations }: PolicyList, isWhole: boolean): readonly string[] {
  return isWhole ? operations.map(({ operation }) => operation) : policies.map(({ name }) => name)
}

function tableOf({ policies, operations }: PolicyList, width: number | undefined): string {
  const included = policies.map(({ name, operations: all }) => ({ name, all: new Set(all) }))
  return formatTable(
    ['OPERATION', 'WHAT IT DOES', 'POLICIES'],
    operations.map(({ operation, effect }) => [
      operation,
      effect,
      included
        .filter(({ all }) => all.has(operation))
        .map(({ name }) => name)
        .join(', '),
    ]),
    { width, givesWay: ['POLICIES'] },
  )
}
