/** `prefect-auth share …`: one service-account key on many machines, by way of a store. */

import { type Command, InvalidArgumentError } from 'commander'
import { SECOND_MS } from '../../std/clock.js'
import { defined } from '../../std/defined.js'
import { formatDuration, parseDuration } from '../../std/time.js'
import type { ShareView } from '../../wire/shares.js'
import { readSecret } from '../ask.js'
import { usageError } from '../failure.js'
import { type CommonOptions, common, profileName, type Session, type Start, withJson } from '../session.js'
import { counted, formatTime, printable } from '../text.js'
import { probe } from './share-probe.js'

interface InitOptions extends CommonOptions {
  readonly serviceAccount?: string
  readonly probe?: boolean
  readonly yes?: boolean
  readonly every?: number
  readonly overlap?: number
  readonly lifetime?: number
}

interface SecretOptions extends CommonOptions {
  readonly remove?: boolean
}

interface RotateOptions extends CommonOptions {
  readonly now?: boolean
}

export function addShare(program: Command, start: Start): void {
  const share = program
    .command('share')
    .description("share a service account's key with other machines, by way of OpenBao or Vault")
  withJson(share.command('init <name>'))
    .description("make a service account's key and put it into the store of this share")
    .option('--service-account <account>', 'whose key the machines share')
    .option('--every <duration>', 'how often each machine reads the store (default: 60s)', parseSeconds)
    .option('--overlap <duration>', 'how long a replaced key lives (default: 1d)', parseSeconds)
    .option('--lifetime <duration>', 'lifetime of the rotated keys (default: 30d)', parseSeconds)
    .option(
      '--probe',
      'make nothing; try what Prefect does with the keys of a service account that is made for it, or of --service-account',
    )
    .option('-y, --yes', 'with --probe: do not ask')
    .action((name: string, options: InitOptions) =>
      start('share init', options, (session) =>
        options.probe === true ? probe(session, name, options) : init(session, name, options),
      ),
    )
  common(share.command('use <name>'))
    .description('serve the shared key for a profile of this machine')
    .action((name: string, options: CommonOptions) =>
      start('share use', options, async (session) => {
        const view = await session.client.useShare(name, await profileName(session))
        session.answer(view, () => describe(view))
      }),
    )
  withJson(share.command('status'))
    .description('show who rotates, which key is served here, and what is wrong')
    .action((options: CommonOptions) => start('share status', options, (session) => show(session)))
  withJson(share.command('rotate <name>'))
    .description('rotate the shared key as soon as every machine has the last one')
    .option('--now', 'also if it is not due')
    .action((name: string, options: RotateOptions) =>
      start('share rotate', options, (session) => rotate(session, name, options.now === true)),
    )
  withJson(share.command('adopt <name>'))
    .description("share Prefect's newest key, which a person has made; asked for, or read from stdin")
    .action((name: string, options: CommonOptions) =>
      start('share adopt', options, async (session) => {
        const hint = `prefect-auth share adopt ${printable(name)} < FILE`
        const key = await readSecret(session, { what: 'API key', fromStdin: true, hint })
        const view = await session.client.adoptShare(name, key)
        session.answer(view, () => describe(view))
      }),
    )
  withJson(share.command('secret <name>'))
    .description(
      'put a secret for a store into the vault, for vault:NAME in config.toml; asked for, or read from stdin',
    )
    .option('--remove', 'remove it')
    .action((name: string, options: SecretOptions) =>
      start('share secret', options, (session) => secret(session, name, options.remove === true)),
    )
  common(share.command('leave <name>'))
    .description('forget the shared key for a profile of this machine; it lives on')
    .action((name: string, options: CommonOptions) =>
      start('share leave', options, async (session) => {
        const profile = await profileName(session)
        const left = await session.client.leaveShare(name, profile)
        session.answer(left, () => `Profile ${printable(profile)} no longer uses share ${printable(name)}`)
      }),
    )
}

function parseSeconds(text: string): number {
  const ms = parseDuration(text)
  if (ms !== undefined && ms >= SECOND_MS) return Math.round(ms / SECOND_MS)
  throw new InvalidArgumentError('Expected a duration like 60s, 2h or 30d.')
}

async function init(session: Session, name: string, options: InitOptions): Promise<void> {
  const { serviceAccount: service_account, every, overlap, lifetime } = options
  if (service_account === undefined) {
    const command = `prefect-auth share init ${printable(name)} --service-account NAME`
    throw usageError('share init needs to know whose key is shared', command)
  }
  const pace = defined({ every_s: every, overlap_s: overlap, lifetime_s: lifetime })
  const view = await session.client.initShare(name, { service_account, ...pace })
  session.answer(
    view,
    () =>
      `Share ${printable(name)} has its first key. On each machine: prefect-auth share use ${printable(name)}`,
  )
}

async function secret(session: Session, name: string, isRemoving: boolean): Promise<void> {
  if (isRemoving) {
    const answer = await session.client.removeShareSecret(name)
    const said = answer.outcome === 'removed' ? 'removed' : 'was not there'
    session.answer(answer, () => `Secret ${printable(answer.secret)} ${said}`)
    return
  }
  const hint = `prefect-auth share secret ${printable(name)} < FILE`
  const value = await readSecret(session, { what: 'secret', fromStdin: true, hint })
  const answer = await session.client.putShareSecret(name, value)
  session.answer(
    answer,
    () => `Secret ${printable(answer.secret)} is in the vault: vault:${printable(answer.secret)}`,
  )
}

async function show(session: Session): Promise<number> {
  const list = await session.client.shares()
  const none = 'No shares: config.toml has no [share.NAME]'
  session.answer(list, () => (list.shares.length === 0 ? none : list.shares.map(describe).join('\n\n')))
  return list.shares.some(({ trouble, rotator }) => (trouble ?? rotator?.problem) !== undefined) ? 1 : 0
}

async function rotate(session: Session, name: string, isNow: boolean): Promise<void> {
  if (!isNow) {
    const { shares } = await session.client.shares()
    const due = shares.find((one) => one.name === name)?.document?.rotates_at
    if (due !== undefined && Date.parse(due) > Date.now()) {
      session.say(`The shared key is due ${formatTime(due)}; with --now it is rotated before`)
      return
    }
  }
  const view = await session.client.rotateShare(name)
  session.answer(view, () => describe(view))
}

/** What each standing means to a person. */
const STANDINGS: Readonly<Record<string, string>> = {
  idle: 'in order',
  unread: 'the store did not answer; the last key is served',
  untold: 'Prefect did not answer; the shared key is served',
  waiting: "waiting: for another machine's turn, or until every machine has the last key",
  astray: 'Prefect has a newer key than the store; looking again in a moment',
  stale: "Prefect's newest key is older than the shared one; looking again",
  foreign: 'somebody else rotated the key at Prefect: adopt that key, or rotate --now',
  second_owner: 'somebody else rotated the key twice: rotation stopped until rotate --now',
  unverified: 'Prefect does not accept the newest key, which this machine has minted',
  held_back: 'the last rotation failed; trying again later',
}

function describe({ name, where, standing, document, trouble, ...share }: ShareView): string {
  const facts: readonly (readonly [string, string | undefined])[] = [
    ['store', where],
    ['state', STANDINGS[standing] ?? standing],
    ['profiles', share.profiles.length === 0 ? 'none: prefect-auth share use' : share.profiles.join(', ')],
    ['key', document && `number ${document.number} of ${document.service_account}, id ${document.key_id}`],
    ['served here', share.held_number === undefined ? undefined : `number ${share.held_number}`],
    ['expires', document?.expires_at && formatTime(document.expires_at)],
    ['rotates', rotation(document?.rotates_at, share.rotate_with, share.rotator?.role)],
    ['not shared', unpublished(share.unpublished)],
    ['turn of', document?.turn_of],
    ['rotate by', document?.mint_by && formatTime(document.mint_by)],
    ['overlap', document && overlapOf(document)],
    ['problem', troubleText(trouble)],
    ['rotator', troubleText(share.rotator?.problem)],
  ]
  const lines = facts.flatMap(([label, text]) =>
    text === undefined ? [] : [`  ${label.padEnd(12)} ${printable(text)}`],
  )
  return [`Share ${printable(name)}`, ...lines].join('\n')
}

function unpublished(count: number | undefined): string | undefined {
  return count === undefined ? undefined : `${counted(count, 'key')} of this machine that no other has yet`
}

function troubleText(trouble: ShareView['trouble']): string | undefined {
  return trouble && `${trouble.message}${trouble.hint === undefined ? '' : `; ${trouble.hint}`}`
}

function rotation(
  at: string | undefined,
  by: string | undefined,
  role = 'role not known',
): string | undefined {
  if (by === undefined) return 'by other machines: this one only reads'
  return at === undefined ? undefined : `${formatTime(at)}, with the key of profile ${by} (${role})`
}

function overlapOf({ overlap_s, least_overlap_s }: NonNullable<ShareView['document']>): string {
  const text = (seconds: number) => formatDuration(seconds * SECOND_MS)
  return `${text(overlap_s)} (the formula asks for ${text(least_overlap_s)})`
}
