/** Pure: the status as one look: who, where, which profile and why, how long, kept where, and what is wrong. */

import { createHash } from 'node:crypto'
import { defined } from '../std/defined.js'
import type { ProxyTrafficView } from '../wire/credentials.js'
import type { RenewalView } from '../wire/keys.js'
import type { ProfileStatus, Status } from '../wire/status.js'
import type { Colors } from './session.js'
import {
  describeKey,
  describeOwner,
  describeWorkspace,
  formatDate,
  formatFacts,
  formatRelative,
  formatSpan,
  printable,
} from './text.js'

interface StatusTextInput {
  readonly status: Status
  /** The profile asked for and why; the active one where nobody asked. */
  readonly profile: string | undefined
  readonly because: string | undefined
  /** The caller's environment: what stands in it overrides what the daemon serves. */
  readonly env: Readonly<Record<string, string | undefined>>
  /** Our own version. */
  readonly version: string
  /** Epoch ms. */
  readonly now: number
  readonly colors: Colors
}

/** A finding with what to do about it. */
interface Finding {
  readonly text: string
  readonly hint?: string
}

export function formatStatus(input: StatusTextInput): string {
  const { status, colors } = input
  const name = input.profile ?? status.active
  const profile = status.profiles.find((one) => one.name === name)
  const findings = findFindings(input, name, profile)
  const lines = [
    colors.bold(headline(name, profile)),
    '',
    formatFacts(facts(input, name, profile).map(([label, value]) => [label, value] as const)),
    '',
    ...(findings.length === 0
      ? [colors.green('Everything is in order.')]
      : findings.flatMap((finding) => formatFinding(finding, colors))),
  ]
  return lines.join('\n')
}

function headline(name: string, profile: ProfileStatus | undefined): string {
  if (profile === undefined) return `No profile ${printable(name)}`
  if (profile.kind === 'server') return `Self-hosted server ${printable(profile.api_url ?? '')}`.trimEnd()
  if (profile.key_source === 'none') return 'Not logged in'
  const who =
    profile.owner === undefined ? 'An API key of an owner not known yet' : describeOwner(profile.owner)
  return profile.workspace === undefined ? who : `${who} in ${describeWorkspace(profile.workspace)}`
}

function facts(
  { status, because, now }: StatusTextInput,
  name: string,
  profile: ProfileStatus | undefined,
): [string, string | undefined][] {
  const { vault, daemon, listeners } = status
  const tcp = listeners.find(({ door }) => door === 'tcp')
  const up = `up ${formatSpan(now - Date.parse(daemon.started_at))}`
  const doors = tcp?.state === 'listening' ? `, ${printable(tcp.address)}` : ', no TCP'
  return [
    ['profile', `${printable(name)} (${describeReason(name, because ?? profile?.because ?? 'asked for')})`],
    ['api', profile?.api_url === undefined ? undefined : printable(profile.api_url)],
    ['key', profile === undefined ? undefined : describeKeyOf(profile, now)],
    ['renewal', profile?.renewal === undefined ? undefined : describeRenewal(profile.renewal, now)],
    ['old keys', profile?.renewal === undefined ? undefined : describeOldKeys(profile.renewal)],
    ['kept in', describeStore(profile, vault)],
    ['others', describeOthers(status, name)],
    ...describeTraffic(status.proxy, now).map((line, at): [string, string] => [
      at === 0 ? 'proxy' : '',
      line,
    ]),
    ['daemon', `${printable(daemon.version)}, pid ${daemon.pid}, ${up}${doors}`],
  ]
}

/** The name stands before it already. */
function describeReason(name: string, because: string): string {
  const prefix = `profile '${name}' is `
  return printable(because.startsWith(prefix) ? because.slice(prefix.length) : because)
}

function describeKeyOf(profile: ProfileStatus, now: number): string | undefined {
  if (profile.key !== undefined) return describeKey(profile.key, now)
  return profile.kind === 'server' ? undefined : 'none'
}

function describeStore(profile: ProfileStatus | undefined, vault: Status['vault']): string | undefined {
  if (profile?.key_source === 'file') return 'profiles.toml, as plain text'
  const lock = vault.state === 'ready' ? '' : ` (${vault.state.replace('_', ' ')})`
  if (vault.at_rest === 'os keychain') return `the OS keychain${lock}`
  const wrap = vault.at_rest === 'not protected' ? 'at rest: not protected' : `at rest: ${vault.at_rest}`
  return `an encrypted file, ${wrap}${lock}`
}

function describeOthers({ profiles }: Status, name: string): string | undefined {
  const others = profiles.filter((one) => one.name !== name && one.kind !== 'none')
  if (others.length === 0) return undefined
  const shown = others
    .slice(0, 5)
    .map((one) => `${printable(one.name)} (${one.ready ? one.kind : 'not ready'})`)
  return others.length > shown.length ? `${shown.join(', ')}, ...` : shown.join(', ')
}

function findFindings(
  { status, env, version }: StatusTextInput,
  name: string,
  profile: ProfileStatus | undefined,
): Finding[] {
  const { vault, listeners, daemon } = status
  const missing = { text: `there is no profile '${name}'`, hint: 'prefect-auth profile ls' }
  return [
    ...(profile === undefined ? [missing] : findProfileFindings(profile)),
    ...(profile === undefined ? [] : findOverrides(env, profile)),
    ...(vault.problem === undefined ? [] : [{ text: vault.problem.message, hint: vault.problem.hint }]),
    ...(status.profiles_file.problem === undefined ? [] : [{ text: status.profiles_file.problem }]),
    ...listeners.flatMap(({ problem }) => (problem === undefined ? [] : [{ text: problem }])),
    ...status.notices.map((text) => ({ text })),
    ...(daemon.version === version ? [] : [differentVersions(daemon.version, version)]),
  ].filter(({ text }, at, all) => all.findIndex((other) => other.text === text) === at)
}

function differentVersions(daemon: string, ours: string): Finding {
  return { text: `the daemon is version ${daemon}, this command is ${ours}`, hint: 'restart prefect-authd' }
}

function findProfileFindings(profile: ProfileStatus): Finding[] {
  const { ready, reason, hint, notices } = profile
  const unready = { text: reason ?? 'not ready', ...defined({ hint }) }
  const nowhere = { text: `profile '${profile.name}' leads to no Prefect API`, hint: 'prefect-auth login' }
  const state = profile.kind === 'none' ? [nowhere] : ready ? [] : [unready]
  const trouble = profile.renewal?.trouble
  const renewal = trouble === undefined ? [] : [{ text: trouble.message, hint: trouble.hint }]
  return [...state, ...renewal, ...notices.map((text) => ({ text }))]
}

/** What `eval "$(prefect-auth env)"` put there is no conflict while it is the current pair. */
function findOverrides(env: StatusTextInput['env'], { api_url, key }: ProfileStatus): Finding[] {
  const names: string[] = []
  if (env.PREFECT_API_URL && env.PREFECT_API_URL !== api_url) names.push('PREFECT_API_URL')
  if (env.PREFECT_API_KEY && fingerprint(env.PREFECT_API_KEY) !== key?.fingerprint)
    names.push('PREFECT_API_KEY')
  if (names.length === 0) return []
  const verb = names.length === 1 ? 'is' : 'are'
  const text = `${names.join(' and ')} ${verb} set in this shell to something else, and a plain prefect uses that`
  return [{ text, hint: `unset ${names.join(' ')}      (or: eval "$(prefect-auth env)")` }]
}

function fingerprint(key: string): string {
  return `sha256:${createHash('sha256').update(key).digest('hex').slice(0, 12)}`
}

function formatFinding({ text, hint }: Finding, colors: Colors): string[] {
  const line = `${colors.yellow('!')} ${printable(text)}`
  return hint === undefined ? [line] : [line, `  ${colors.bold(printable(hint))}`]
}

/** `in 17 days (2026-12-08), last on 2026-11-20` */
export function describeRenewal(renewal: RenewalView, now: number): string {
  const { last } = renewal
  const before =
    last === undefined
      ? ''
      : `, last ${last.outcome === 'done' ? 'on' : 'tried in vain on'} ${formatDate(last.at)}`
  return `${describePlan(renewal, now)}${before}`
}

function describePlan({ plan, at, why }: RenewalView, now: number): string {
  switch (plan) {
    case 'scheduled':
      if (at === undefined) return 'planned'
      return Date.parse(at) <= now ? 'due now' : `${formatRelative(at, now)} (${formatDate(at)})`
    case 'not_renewable':
      return `not possible: ${printable(why ?? 'no reason given')}`
    case 'not_needed':
      return 'not needed'
  }
}

/** `1 still lives: sha256:1f2e3d4c5b6a until 2026-12-20`; `undefined` where none does. */
export function describeOldKeys({ old_keys }: RenewalView): string | undefined {
  if (old_keys.length === 0) return undefined
  const shown = old_keys.slice(0, 3).map(({ fingerprint, expires_at }) => {
    return `${printable(fingerprint)} ${expires_at === undefined ? '(end not known)' : `until ${formatDate(expires_at)}`}`
  })
  const more = old_keys.length > shown.length ? ', ...' : ''
  return `${old_keys.length} still ${old_keys.length === 1 ? 'lives' : 'live'}: ${shown.join(', ')}${more}`
}

/** The busiest come first; more than these are for `--json` and `/metrics`. */
const MAX_LINES = 8

function describeTraffic(traffic: readonly ProxyTrafficView[], now: number): readonly string[] {
  const lines = traffic.slice(0, MAX_LINES).map((line) => describeLine(line, now))
  const left = traffic.length - lines.length
  return left > 0 ? [...lines, `and ${left} more: prefect-auth metrics`] : lines
}

function describeLine(line: ProxyTrafficView, now: number): string {
  const facts = [
    count(line.requests, 'request'),
    `${formatBytes(line.bytes_up)} up`,
    `${formatBytes(line.bytes_down)} down`,
    ...some(line.sockets, (many) => `${count(many, 'socket')} open`),
    ...some(line.replays, (many) => count(many, 'replay')),
    ...some(line.parked, (many) => `${many} told to wait`),
    `last ${formatRelative(line.last_at, now)}`,
  ]
  const who = line.token === undefined ? 'the owner' : `'${printable(line.token)}'`
  return `${printable(line.profile)} by ${who}: ${facts.join(', ')}`
}

function some(many: number, text: (many: number) => string): readonly string[] {
  return many === 0 ? [] : [text(many)]
}

function count(many: number, unit: string): string {
  return `${many} ${unit}${many === 1 ? '' : 's'}`
}

/** `512 B`, `1.2 kB`, `3.4 MB`: thousands, as networks count. */
function formatBytes(bytes: number): string {
  const units = ['kB', 'MB', 'GB', 'TB']
  let value = bytes
  let unit = 'B'
  for (const next of units) {
    if (value < 1000) break
    value /= 1000
    unit = next
  }
  return unit === 'B' ? `${value} B` : `${value.toFixed(1)} ${unit}`
}
