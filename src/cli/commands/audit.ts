/** `prefect-auth audit`: who received which credentials, when, and over which listener. */
import { type Command, InvalidArgumentError } from 'commander'
import { defined } from '../../std/defined.js'
import { parseDuration } from '../../std/time.js'
import type { AuditList } from '../../wire/events.js'
import { type CommonOptions, common, type Start } from '../session.js'
import { formatTable, formatTime } from '../text.js'

type Since = { readonly kind: 'ago'; readonly ms: number } | { readonly kind: 'at'; readonly time: string }

interface AuditOptions extends CommonOptions {
  readonly since?: Since
  readonly token?: string
}

export function addAudit(program: Command, start: Start): void {
  common(program.command('audit'))
    .description('show who received credentials, when, and over which listener')
    .option(
      '--since <time>',
      'how far back, such as 2h or 7d, or a time such as 2026-11-20T08:00Z',
      parseSince,
    )
    .option('--token <name>', 'only what is about the token of this name or id')
    .action((options: AuditOptions) =>
      start('audit', options, async (session) => {
        const since = resolveSince(options.since, session.terminal.now())
        const list = await session.client.audit(defined({ since, token: options.token }))
        const named = options.profile
        const entries = list.entries.filter(({ profile }) => named === undefined || profile === named)
        session.answer({ entries }, () =>
          entries.length === 0 ? 'No entries' : describeAudit({ entries }, session.width),
        )
      }),
    )
}

function parseSince(text: string): Since {
  const ms = parseDuration(text)
  if (ms !== undefined) return { kind: 'ago', ms }
  const at = Date.parse(text)
  if (Number.isNaN(at))
    throw new InvalidArgumentError('Expected a duration or time like 2h, 7d or 2026-11-20T08:00Z.')
  return { kind: 'at', time: new Date(at).toISOString() }
}

function resolveSince(since: Since | undefined, now: number): string | undefined {
  return since?.kind === 'ago' ? new Date(now - since.ms).toISOString() : since?.time
}

function describeAudit({ entries }: AuditList, width: number | undefined): string {
  return formatTable(
    ['TIME (UTC)', 'ACTION', 'OUTCOME', 'PROFILE', 'LISTENER', 'WHO', 'DETAIL', 'CALLER'],
    entries.map((entry) => [
      formatTime(entry.at),
      entry.count === undefined || entry.count === 1 ? entry.action : `${entry.action} x${entry.count}`,
      entry.outcome,
      entry.profile ?? '',
      entry.door,
      entry.token_name ?? entry.token ?? entry.agent ?? '',
      entry.code ?? entry.operation ?? entry.fingerprint ?? entry.about_name ?? '',
      entry.caller ?? '',
    ]),
    { width },
  )
}
