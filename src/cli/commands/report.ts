/** `prefect-auth report`: one redacted file for a bug report, short enough to be read before it is attached. */
import { writeFileSync } from 'node:fs'
import { hostname, release } from 'node:os'
import type { Command } from 'commander'
import { failureOf } from '../../client/failure.js'
import { runProgram } from '../../os/run-program.js'
import { SECOND_MS, systemClock } from '../../std/clock.js'
import { scrub } from '../../std/text.js'
import type { Status } from '../../wire/status.js'
import { usageError } from '../failure.js'
import { openServiceManager } from '../service/service.js'
import type { CommonOptions, Session, Start } from '../session.js'
import { printable, printableJson } from '../text.js'
import { runDoctor } from './doctor.js'
import { lastLogLines } from './logs.js'

interface ReportOptions extends CommonOptions {
  readonly output?: string
}

const LOG_LINES = 60

export function addReport(program: Command, start: Start): void {
  program
    .command('report')
    .description(
      'write versions, checks, status, units and the last log lines, without secrets, names or ids',
    )
    .option('-o, --output <file>', 'write it to a new file instead of stdout')
    .action((options: ReportOptions) =>
      start('report', options, async (session) => {
        const text = await makeReport(session)
        if (options.output === undefined) return session.print(text)
        writeReport(options.output, text)
        session.say(`Written: ${printable(options.output)}. Please read it before you attach it to anything.`)
      }),
    )
}

/** Never over something else. */
function writeReport(path: string, text: string): void {
  try {
    writeFileSync(path, `${text}\n`, { mode: 0o600, flag: 'wx' })
  } catch (error) {
    const reason = error instanceof Error ? error.message : 'unknown'
    throw usageError(`cannot write the report: ${reason}`, 'prefect-auth report --output A-NEW-FILE')
  }
}

async function makeReport(session: Session): Promise<string> {
  const { terminal, client } = session
  const status = await orFailure(() => client.status())
  const doctor = await orFailure(() => runDoctor(session))
  const service = await orFailure(() => openServiceManager(session).look())
  const units = await orFailure(async () => (await openServiceManager(session).plan()).files)
  const log = await orFailure(() => lastLogLines(session, LOG_LINES))
  const redact = createRedaction(terminal.home, status.value, await namesOf(session))
  const part = (title: string, text: string) => `## ${title}\n\n${redact(text)}\n`
  const node = await runProgram(
    { file: terminal.execPath, args: ['--version'], env: {}, deadlineMs: 5 * SECOND_MS },
    systemClock(),
  )
  return [
    '# prefect-auth report\n\nNames, addresses, ids and secrets are replaced by <…>. Please read it before you attach it.\n',
    part(
      'Versions',
      [
        `prefect-auth ${terminal.version}`,
        `prefect-authd ${status.value?.daemon.version ?? status.text}`,
        `node ${node.kind === 'exited' ? node.stdout.trim() : 'unknown'}, ${terminal.platform} ${release()}`,
      ].join('\n'),
    ),
    part('Doctor', doctor.value === undefined ? doctor.text : printableJson(doctor.value.checks)),
    part('Status', status.text),
    part('Service', service.text),
    part('Units', units.value?.map(({ path, text }) => `# ${path}\n${text}`).join('\n') ?? units.text),
    part(`Log, the last ${LOG_LINES} lines`, log.value?.join('\n') ?? log.text),
  ].join('\n')
}

/** A part that cannot be had is reported as such: a report is made when something does not work. */
async function orFailure<T>(work: () => Promise<T>): Promise<{ readonly value?: T; readonly text: string }> {
  try {
    const value = await work()
    return { value, text: printableJson(value) }
  } catch (error) {
    const failure = failureOf(error)
    return { text: failure === undefined ? 'not available' : `${failure.detail} (${failure.code})` }
  }
}

/** What other routes know of the same people and places. */
async function namesOf({ client }: Session): Promise<readonly string[]> {
  const collected: string[] = []
  const profiles = await orFailure(() => client.profiles())
  for (const { name } of profiles.value?.profiles ?? []) {
    const keys = await orFailure(() => client.keys(name))
    collected.push(...(keys.value?.keys ?? []).flatMap(({ id, name: keyName }) => [id ?? '', keyName ?? '']))
  }
  const tokens = await orFailure(() => client.tokens())
  collected.push(...(tokens.value?.tokens ?? []).flatMap(({ id, name }) => [id, name]))
  return collected
}

/** Names that Prefect itself gives: they tell nothing, and a report needs them. */
const COMMON = new Set([
  'default',
  'local',
  'ephemeral',
  'cloud',
  'prefect',
  'test',
  'unknown',
  'root',
  'home',
])
const UUID = /\b[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}\b/gi
/** Facts of a log line, also about what is gone by now. */
const FACTS =
  /\b(profile|owner|handle|workspace|account|email|token|tokenName|name|userId|keyName|item|login|id)=(?:"(?:[^"\\]|\\.)*"|\S+)/g
const EMAIL = /[\w.+%-]+(?:@|%40)[\w-]+(?:\.[\w-]+)+/g
const FINGERPRINT = /\b(sha256|hmac):[0-9a-f]{6,}/g
/** `https://name.example/…`, with whatever is before an `@`. */
const HOST = /\b([a-z][a-z0-9+.-]*:\/\/)(?:[^\s"'\\/@]*@)?([^\s"'\\/:?#<]+)/gi
const KNOWN_HOSTS = /^(?:127\.0\.0\.1|localhost|authd|\[::1\]|(?:api|app)\.prefect\.cloud)$/

/** Replaces what the status names, longest first, then whatever looks like an id, an address or a secret. */
export function createRedaction(
  home: string,
  status: Status | undefined,
  others: readonly string[],
): (text: string) => string {
  const names = new Map<string, string>()
  const add = (kind: string, name: string | undefined) => {
    if (name !== undefined && name.length > 1 && !COMMON.has(name) && !names.has(name))
      names.set(name, `<${kind}>`)
  }
  for (const { name, owner, workspace } of status?.profiles ?? []) {
    add('profile', name)
    add('owner', owner?.handle)
    add('owner id', owner?.id)
    add('workspace', workspace?.handle)
    for (const part of workspace?.handle?.split('/') ?? []) add('handle', part)
    add('account id', workspace?.account_id)
    add('workspace id', workspace?.workspace_id)
  }
  for (const { id, profile } of status?.logins ?? []) {
    add('login', id)
    add('profile', profile)
  }
  for (const name of others) add('name', name)
  add('machine', hostname())
  add('home', home === '/' ? undefined : home)
  const user = home.split('/').at(-1)
  const known = [...names].sort(([a], [b]) => b.length - a.length)
  const patterns = known.map(([name, shown]) => [bounded(name), shown] as const)
  if (user !== undefined && user.length > 1 && !COMMON.has(user)) patterns.push([bounded(user), '<user>'])
  return (text) => {
    const plain = scrub(text)
      .replace(FACTS, '$1=<…>')
      .replace(EMAIL, '<e-mail>')
      .replace(
        HOST,
        (_all, scheme: string, host: string) => `${scheme}${KNOWN_HOSTS.test(host) ? host : '<host>'}`,
      )
      .replace(UUID, '<id>')
      .replace(FINGERPRINT, '<$1>')
    return patterns.reduce((rest, [pattern, shown]) => rest.replace(pattern, () => shown), plain)
  }
}

/** The name as a whole: `dev` is not replaced in `device`. */
function bounded(name: string): RegExp {
  const literal = name.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')
  return new RegExp(`(?<![A-Za-z0-9])${literal}(?![A-Za-z0-9])`, 'gi')
}
