/** The text of `prefect-auth status`: owner, workspace, profile, key, renewal, storage, and what is wrong. */

import { defined } from '../std/defined.js'
import { Secret } from '../std/secret.js'
import { isShadow } from '../wire/env-names.js'
import type { RenewalView } from '../wire/keys.js'
import type { ProfileStatus, Status } from '../wire/status.js'
import { isFromProxy } from './fast/standing.js'
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
  wrap,
} from './text.js'
import { describeProxy } from './traffic-text.js'

export interface StatusTextInput {
  readonly status: Status
  /** The profile that was asked for, and where it was named; `undefined` means the active one. */
  readonly profile: string | undefined
  readonly because: string | undefined
  /** The caller's environment: its variables override what the daemon serves. */
  readonly env: Readonly<Record<string, string | undefined>>
  /** What else stands around this command. */
  readonly standing?: readonly Finding[]
  /** The version of this command. */
  readonly version: string
  /** Epoch ms. */
  readonly now: number
  readonly colors: Colors
  /** Of the terminal; `undefined` if there is none. */
  readonly width?: number | undefined
}

interface Finding {
  readonly text: string
  /** What to do about it. */
  readonly hint?: string
}

export function formatStatus(input: StatusTextInput): string {
  const { colors, width } = input
  const { name, profile, findings } = look(input)
  const lines = [
    colors.bold(headline(name, profile)),
    '',
    formatFacts(facts(input, name, profile), { width }),
    '',
    ...(findings.length === 0
      ? [colors.green('No problems found.')]
      : findings.flatMap((finding) => formatFinding(finding, input))),
  ]
  return lines.join('\n')
}

/** One line for a prompt: `cloud prefect/terry 17 days`, with `!` behind it if something is wrong. */
export function formatShort(input: StatusTextInput): string {
  const { name, profile, findings } = look(input)
  const { workspace, key, kind } = profile ?? {}
  const words = [
    printable(name),
    ...(workspace === undefined ? [] : [describeWorkspace(workspace)]),
    ...(kind === 'server' ? ['server'] : []),
    ...(profile !== undefined && isLoggedOut(profile) ? ['not logged in'] : []),
    ...(key?.expires_at === undefined ? [] : [formatSpan(Date.parse(key.expires_at) - input.now)]),
    ...(findings.length > 0 ? ['!'] : []),
  ]
  return words.join(' ')
}

/** What is wrong, a line each; empty if nothing is. */
export function formatFindings(input: StatusTextInput): string {
  return look(input)
    .findings.flatMap((finding) => formatFinding(finding, input))
    .join('\n')
}

function look(input: StatusTextInput) {
  const name = input.profile ?? input.status.active
  const profile = input.status.profiles.find((one) => one.name === name)
  return { name, profile, findings: findFindings(input, name, profile) }
}

/**
 * 3 if the profile does not exist or nobody is logged in to it; with `isStrict` 1 if anything else is wrong; else 0.
 */
export function statusCode(input: StatusTextInput, isStrict: boolean): number {
  const { profile, findings } = look(input)
  if (profile === undefined || isLoggedOut(profile) || profile.state === 'rejected') return 3
  return isStrict && findings.length > 0 ? 1 : 0
}

/** A server may do without a secret. */
function isLoggedOut({ kind, key_source }: ProfileStatus): boolean {
  return kind !== 'server' && key_source === 'none'
}

function headline(name: string, profile: ProfileStatus | undefined): string {
  if (profile === undefined) return `No profile ${printable(name)}`
  if (profile.kind === 'server') return `Self-hosted server ${printable(profile.api_url ?? '')}`.trimEnd()
  if (isLoggedOut(profile)) return 'Not logged in'
  const who = profile.owner === undefined ? 'API key with unknown owner' : describeOwner(profile.owner)
  return profile.workspace === undefined ? who : `${who} in ${describeWorkspace(profile.workspace)}`
}

function facts(
  { status, because, now, width }: StatusTextInput,
  name: string,
  profile: ProfileStatus | undefined,
): readonly (readonly [string, string | undefined])[] {
  const { vault, daemon, listeners } = status
  const tcp = listeners.find(({ door }) => door === 'tcp')
  const up = `up ${formatSpan(now - Date.parse(daemon.started_at))}`
  const address = tcp?.state === 'listening' ? `, ${printable(tcp.address)}` : ', no TCP'
  return [
    ['profile', `${printable(name)} (${describeReason(name, because ?? profile?.because ?? 'requested')})`],
    ['api', profile?.api_url === undefined ? undefined : fitUrl(printable(profile.api_url), width)],
    ['key', profile === undefined ? undefined : describeKeyOf(profile, now)],
    ['renewal', profile?.renewal === undefined ? undefined : describeRenewal(profile.renewal, now)],
    ['old keys', profile?.renewal === undefined ? undefined : describeOldKeys(profile.renewal)],
    ['stored in', describeStore(profile, vault)],
    ['others', describeOthers(status, name)],
    ...status.files.map(
      ({ path, what, state }, at) =>
        [
          at === 0 ? 'files' : '',
          `${printable(path)} (${what}${state === 'current' ? '' : `, ${state}`})`,
        ] as const,
    ),
    ...describeProxy(status, now).map((line, at) => [at === 0 ? 'proxy' : '', line] as const),
    ['daemon', `${printable(daemon.version)}, pid ${daemon.pid}, ${up}${address}`],
    [
      'requests',
      daemon.recogniser === 'not_compared' ? `read by Node alone: ${notCompared(daemon.node)}` : undefined,
    ],
  ]
}

function notCompared(node: string): string {
  return `this prefect-auth was not compared with ${printable(node)} (slower, nothing else)`
}

/** What stands before a value: the longest name, and the space around it. */
const BEFORE_VALUE = 13

/** Whole where there is room; else with short ids; else cut. */
function fitUrl(url: string, width = Number.POSITIVE_INFINITY): string {
  const room = width - BEFORE_VALUE
  if (url.length <= room) return url
  const short = url.replace(/([0-9a-f]{8})-[0-9a-f-]{27}/g, '$1…')
  return short.length <= room ? short : `${short.slice(0, Math.max(0, room - 1))}…`
}

/** Without the profile's name, which is printed in front of it. */
function describeReason(name: string, because: string): string {
  const prefix = `profile '${name}' is `
  return printable(because.startsWith(prefix) ? because.slice(prefix.length) : because)
}

function describeKeyOf(profile: ProfileStatus, now: number): string | undefined {
  if (profile.key !== undefined) return describeKey(profile.key, now)
  return profile.kind === 'server' ? undefined : 'none'
}

function describeStore(profile: ProfileStatus | undefined, vault: Status['vault']): string | undefined {
  if (profile?.key_source === 'file') return 'profiles.toml, in plain text'
  const lock = vault.state === 'ready' ? '' : ` (${vault.state.replace('_', ' ')})`
  if (vault.at_rest === 'os keychain') return `the OS keychain${lock}`
  return `an encrypted file, at rest: ${vault.at_rest}${lock}`
}

function describeOthers({ profiles }: Status, name: string): string | undefined {
  const others = profiles.filter((one) => one.name !== name && one.kind !== 'none')
  if (others.length === 0) return undefined
  const shown = others
    .slice(0, 5)
    .map((one) => `${printable(one.name)} (${one.ready ? (one.state ?? one.kind) : 'not ready'})`)
  return others.length > shown.length ? `${shown.join(', ')}, ...` : shown.join(', ')
}

function findFindings(
  { status, env, version, standing = [] }: StatusTextInput,
  name: string,
  profile: ProfileStatus | undefined,
): Finding[] {
  const { vault, listeners, daemon } = status
  const missing = { text: `there is no profile '${name}'`, hint: 'prefect-auth profile ls' }
  return [
    ...(profile === undefined ? [missing] : findProfileFindings(profile)),
    ...(profile === undefined ? [] : findOverrides(env, profile)),
    ...standing,
    ...(vault.problem === undefined ? [] : [{ text: vault.problem.message, hint: vault.problem.hint }]),
    ...(status.profiles_file.problem === undefined ? [] : [{ text: status.profiles_file.problem }]),
    ...(status.profiles_file.warnings ?? []).map((text) => ({ text })),
    ...listeners.flatMap(({ problem }) => (problem === undefined ? [] : [{ text: problem }])),
    ...status.notices.map((text) => ({ text })),
    ...(daemon.version === version ? [] : [differentVersions(daemon.version, version)]),
  ].filter(({ text }, at, all) => all.findIndex((other) => other.text === text) === at)
}

function differentVersions(daemon: string, ours: string): Finding {
  const text = `the daemon is version ${daemon}, this command is version ${ours}`
  return { text, hint: 'prefect-auth service install      (or restart prefect-authd)' }
}

function findProfileFindings(profile: ProfileStatus): Finding[] {
  const { ready, reason, hint, notices } = profile
  const unready = { text: reason ?? 'not ready', ...defined({ hint }) }
  const nowhere = { text: `profile '${profile.name}' has no Prefect API URL`, hint: 'prefect-auth login' }
  const state = !ready ? [unready] : profile.kind === 'none' ? [nowhere] : []
  const trouble = profile.renewal?.trouble
  const renewal = trouble === undefined ? [] : [{ text: trouble.message, hint: trouble.hint }]
  return [...state, ...renewal, ...notices.map((text) => ({ text }))]
}

function findOverrides(env: StatusTextInput['env'], profile: ProfileStatus): Finding[] {
  const names = overridingVariables(env, profile)
  if (names.length === 0) return []
  const verb = names.length === 1 ? 'is' : 'are'
  const text = `${names.join(' and ')} ${verb} set to something else in this shell, and a plain prefect uses that`
  return [{ text, hint: `unset ${names.join(' ')}      (or: eval "$(prefect-auth env)")` }]
}

/**
 * The variables of `env` that lead a plain `prefect` elsewhere than `profile` does. What `eval "$(prefect-auth env)"` set
 * does not count while it is current.
 */
export function overridingVariables(
  env: StatusTextInput['env'],
  profile: ProfileStatus | undefined,
): readonly string[] {
  const { PREFECT_API_URL: url, PREFECT_API_KEY: key, PREFECT_API_AUTH_STRING: auth } = env
  const isSet = (value: string | undefined): value is string => Boolean(value) && !isFromProxy(value ?? '')
  return [
    ...(isSet(url) && url !== profile?.api_url ? ['PREFECT_API_URL'] : []),
    ...(isSet(key) && new Secret(key).fingerprint() !== profile?.key?.fingerprint ? ['PREFECT_API_KEY'] : []),
    // Prefect 3 prefers it to a key.
    ...(isSet(auth) && profile?.kind === 'cloud' ? ['PREFECT_API_AUTH_STRING'] : []),
    ...Object.keys(env).filter((name) => isShadow(name) && isSet(env[name])),
  ]
}

function formatFinding({ text, hint }: Finding, { colors, width }: StatusTextInput): string[] {
  const line = `${colors.yellow('!')} ${wrap(printable(text), { width, indent: 2 })}`
  return hint === undefined ? [line] : [line, `  ${colors.bold(printable(hint))}`]
}

/** `in 17 days (2026-12-08), last on 2026-11-20` */
export function describeRenewal(renewal: RenewalView, now: number): string {
  const { last } = renewal
  const before =
    last === undefined
      ? ''
      : `, last ${last.outcome === 'done' ? 'on' : 'attempt failed on'} ${formatDate(last.at)}`
  return `${describePlan(renewal, now)}${before}`
}

function describePlan({ plan, at, why }: RenewalView, now: number): string {
  switch (plan) {
    case 'scheduled':
      if (at === undefined) return 'scheduled'
      return Date.parse(at) <= now ? 'due now' : `${formatRelative(at, now)} (${formatDate(at)})`
    case 'not_renewable':
      return `not possible: ${printable(why ?? 'no reason given')}`
    case 'not_needed':
      return 'not needed'
  }
}

/** `1 still valid: sha256:1f2e3d4c5b6a until 2026-12-20`; `undefined` if there is none. */
export function describeOldKeys({ old_keys }: RenewalView): string | undefined {
  if (old_keys.length === 0) return undefined
  const shown = old_keys.slice(0, 3).map(({ fingerprint, expires_at }) => {
    return `${printable(fingerprint)} ${expires_at === undefined ? '(expiry unknown)' : `until ${formatDate(expires_at)}`}`
  })
  const more = old_keys.length > shown.length ? ', ...' : ''
  return `${old_keys.length} still valid: ${shown.join(', ')}${more}`
}
