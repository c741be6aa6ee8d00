/** Questions before a write as text: a list, one with its body, and a line for each in a log. */
import type { AnsweredAsk, AskDetail, AskList, AskView } from '../wire/asks.js'
import { counted, formatSpan, formatTable, formatTime, printable, printableLines } from './text.js'

/** Oldest first; below it, what was allowed for an hour. */
export function describeAsks({ asks, allowed }: AskList, now: number, width: number | undefined): string {
  const open = asks.length === 0 ? 'No request waits for your yes' : describeOpen(asks, now, width)
  const lines = allowed.map(
    ({ token, profile, operation, until }) =>
      `Allowed until ${formatTime(until)} UTC: ${operation} for token ${token.name}, profile ${profile}`,
  )
  return [open, ...lines.map(printable)].join('\n')
}

function describeOpen(asks: readonly AskView[], now: number, width: number | undefined): string {
  const table = formatTable(
    ['ID', 'WAITS', 'TOKEN', 'REQUEST', 'ASKED BY'],
    asks.map((ask) => [
      String(ask.id),
      formatSpan(now - Date.parse(ask.opened_at)),
      ask.token.name,
      ask.sentence,
      ask.who.at(-1) ?? 'unknown',
    ]),
    { width, givesWay: ['ASKED BY', 'TOKEN', 'REQUEST'] },
  )
  return `${table}\nAnswer with: prefect-auth asks yes ID, or no ID; look first: prefect-auth asks show ID`
}

export function describeAsk(ask: AskDetail): string {
  const facts: readonly (readonly [name: string, value: string])[] = [
    ['Token', `${ask.token.name} (${ask.token.id}), profile ${ask.profile}`],
    ['Operation', `${ask.operation} (${ask.effect ?? 'not known to prefect-auth'})`],
    ['Sent as', `${ask.method} ${ask.path}`],
    ...(ask.who.length > 0 ? ask.who : ['unknown']).map((who) => ['Asked by', who] as const),
    ['Since', `${formatTime(ask.opened_at)} UTC`],
    ...(ask.gives_up === true ? [['Hurry', GIVES_UP] as const] : []),
  ]
  const lines = facts.map(([name, value]) => `${name.padEnd(10)} ${printable(value)}`)
  return [`Question ${ask.id}: ${printable(ask.sentence)}`, ...lines, ...describeBody(ask)].join('\n')
}

const GIVES_UP = 'this Prefect is older than 3.3.1 and gives up after about two minutes'

function describeBody({ body, body_bytes, body_cut }: AskDetail): readonly string[] {
  if (body_bytes === 0) return ['Body       none']
  const size = counted(body_bytes, 'byte')
  if (body === undefined) return [`Body       ${size}, which are no text`]
  const cut = body_cut === true ? ', of which this is the beginning' : ''
  return [`Body       ${size}${cut}:`, printableLines(indent(body))]
}

/** JSON as people read it; anything else as it is. */
function indent(body: string): string {
  try {
    return JSON.stringify(JSON.parse(body), undefined, 2)
  } catch {
    return body
  }
}

export function describeAnswer({ id, sentence, answer, until }: AnsweredAsk): string {
  const span = until === undefined ? '' : `, and whatever is like it until ${formatTime(until)} UTC`
  return printable(`${answer === 'yes' ? 'Allowed' : 'Refused'} (${id}): ${sentence}${span}`)
}

/** `3  start deployment Testing/nightly in prefect/production  (token agent; python3[12] < bash[4])` */
export function describeOpened({ id, sentence, token, who, gives_up }: AskView): string {
  const from = [`token ${token.name}`, ...who.slice(-1)].join('; ')
  return printable(`${id}  ${sentence}  (${from})${gives_up === true ? `; ${GIVES_UP}` : ''}`)
}
