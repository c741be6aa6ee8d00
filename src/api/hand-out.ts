/** What `GET /v1/credentials` and `GET /v1/env` hand out: chosen, rendered, then marked, counted and audited. */

import type { IncomingHttpHeaders } from 'node:http'
import type { Socket } from 'node:net'
import { BrokerError, type ErrorCode, isBrokerError } from '../base/errors.js'
import { entityTag, matchesTag } from '../http/conditional.js'
import { renderRemovals, renderShell } from '../http/shell.js'
import type { Trail } from '../http/trail.js'
import { loginCommandFor, shownName } from '../profiles/bundled.js'
import type { ResolvedProfile } from '../profiles/profile.js'
import type { Credentials, Served } from '../serve/credentials.js'
import { defined } from '../std/defined.js'
import { remembering } from '../std/remembering.js'
import { type Caller, reachesProfile, requireProfile } from '../tokens/access.js'
import { CALLERS_FILE_HEADER } from '../wire/callers-file.js'
import type { Credentials as CredentialsView, PrefectEnv } from '../wire/credentials.js'
import { type FollowName, wholeEnv } from '../wire/env-names.js'
import type { EnvFormat } from '../wire/kinds.js'
import { pairMark } from '../wire/pair-mark.js'
import { isNameable, readsOurFile } from './callers-file.js'
import type { Metrics } from './observe/metrics.js'
import { renderKey, renderOwner, renderTime, renderWorkspaceRef, seesAll } from './view.js'

/** Fastify's request, or Node's. */
type Asker = { readonly headers: IncomingHttpHeaders; readonly socket: Socket }

export interface EnvQuestion {
  readonly profile?: string | undefined
  readonly format: EnvFormat
  readonly follow?: boolean | undefined
  readonly allow_none?: boolean | undefined
}

/** An answer with its entity tag; without a body if the caller has this version already. */
export interface Tagged {
  readonly tag: string
  readonly body?: string
}

export interface HandOut {
  /** The pair as JSON. Rejects if it may not be sent. */
  pair(asker: Asker, caller: Caller, current: Served): Promise<Tagged>
  /** The same at once, if that went out before and the request has no conditions; else `undefined`, with nothing done. */
  pairAgain(asker: Asker, caller: Caller, current: Served): Tagged | undefined
  /** The variables of the profile that the caller means. Rejects with why there are none. */
  variables(asker: Asker, caller: Caller, question: EnvQuestion): Promise<string>
}

export function createHandOut({
  credentials,
  metrics,
  trail,
}: {
  readonly credentials: Credentials
  readonly metrics: Pick<Metrics, 'handedOut'>
  readonly trail: Pick<Trail, 'given'>
}): HandOut {
  const pairs = createPairs(credentials)
  // One object each: by it the audit log knows that a hand-out is the same again.
  const factsOf = remembering(({ profile, key }: Served) => ({
    profile,
    ...defined({ fingerprint: key?.fingerprint }),
  }))
  const note = (asker: Asker, caller: Caller, action: 'credentials' | 'env', served: Served) => {
    metrics.handedOut(served.profile)
    trail.given(asker, caller, action, factsOf(served))
  }
  return {
    async pair(asker, caller, current) {
      const isOurFile = await readsOurFile(asker, credentials.reading().path)
      const isKnown = (tag: string) => matchesTag(asker.headers['if-none-match'], tag)
      if (isKnown(tagOf(current))) return { tag: tagOf(current) }
      const served = await credentials.markHandedOut(current)
      const pair = pairs.of(served, isOurFile)
      note(asker, caller, 'credentials', served)
      // What has replaced it may be the one that the caller has.
      return isKnown(pair.tag) ? { tag: pair.tag } : pair
    },
    pairAgain(asker, caller, current) {
      const { headers } = asker
      if (headers[CALLERS_FILE_HEADER] !== undefined || headers['if-none-match'] !== undefined)
        return undefined
      const pair = pairs.made(current)
      if (pair === undefined || !credentials.isHandedOut(current)) return undefined
      note(asker, caller, 'credentials', current)
      return pair
    },
    async variables(asker, caller, { profile, format, allow_none: mayBeNone = false, follow = false }) {
      await credentials.refresh()
      const isOurFile = await readsOurFile(asker, credentials.reading().path)
      const asked = pickProfile(caller, profile, credentials)
      if (mayBeNone && isWithoutPair(credentials, asked)) return renderDirect(format, {}, [])
      const current = requirePair(credentials.serve(asked))
      const { resolved } = credentials.state(current.profile)
      // A token's caller may be in a container, where there is no such file.
      const isChosen = profile !== undefined && caller.token === undefined && isNameable(resolved, isOurFile)
      const chosen = isChosen ? resolved.name : undefined
      const render = (served: Served) =>
        renderDirect(
          format,
          { ...renderEnv(served), ...defined({ PREFECT_PROFILE: chosen }), ...(follow && followEnv(served)) },
          resolved.notes,
        )
      // What cannot be rendered is not handed out.
      render(current)
      const served = await credentials.markHandedOut(current)
      const body = render(served)
      note(asker, caller, 'env', served)
      return body
    },
  }
}

/** The media type of variables. */
export function variablesType(format: EnvFormat): string {
  return `${format === 'json' ? 'application/json' : 'text/plain'}; charset=utf-8`
}

/**
 * The profile that the request is about: the one asked for; else the active one, if the caller may use it; else the only
 * one of its token. `undefined` means the active one. Throws `profile_not_allowed`.
 */
export function pickProfile(
  caller: Caller,
  asked: string | undefined,
  credentials: Credentials,
): string | undefined {
  if (asked !== undefined) {
    requireProfile(caller, asked)
    return asked
  }
  if (caller.token === undefined || seesAll(caller)) return undefined
  const active = activeName(credentials)
  if (active !== undefined && reachesProfile(caller, active)) return active
  const [only, ...others] = caller.token.profiles
  if (only !== undefined && others.length === 0) return only
  throw new BrokerError('profile_not_allowed', 'this token does not include the active profile', {
    hint: 'name one of its profiles: ?profile=NAME',
  })
}

/** `undefined` if the active profile does not exist. */
function activeName(credentials: Credentials): string | undefined {
  try {
    return credentials.state().resolved.name
  } catch (error) {
    if (isBrokerError(error, 'profile_not_found')) return undefined
    throw error
  }
}

export function tagOf(served: Served): string {
  return entityTag(served.profile, served.generation)
}

/** An answer is an immutable object, so its JSON is made once; that for callers with another profile file each time. */
function createPairs(credentials: Credentials) {
  const pairs = new WeakMap<Served, Tagged>()
  return {
    of(served: Served, isOurFile: boolean): Tagged {
      const known = isOurFile ? pairs.get(served) : undefined
      if (known !== undefined) return known
      const { resolved } = credentials.state(served.profile)
      const body = JSON.stringify(renderCredentials(served, resolved, isOurFile))
      const pair = { tag: tagOf(served), body }
      if (isOurFile) pairs.set(served, pair)
      return pair
    },
    /** What `of` has made for callers with our profile file. */
    made: (served: Served) => pairs.get(served),
  }
}

function renderCredentials(served: Served, resolved: ResolvedProfile, isOurFile: boolean): CredentialsView {
  const { workspace, owner, key } = served
  const { notes = [] } = resolved
  return {
    profile: served.profile,
    kind: served.kind,
    env: renderEnv(served),
    ...defined({
      workspace: workspace && renderWorkspaceRef(workspace),
      owner: owner && renderOwner(owner),
      key: key && renderKey(key),
      state: served.state,
    }),
    generation: served.generation,
    because: served.because,
    ...defined({
      in_file: isNameable(resolved, isOurFile) ? true : undefined,
      notes: notes.length > 0 ? [...notes] : undefined,
    }),
  }
}

/** The pair as variables; what has no value is absent. */
export function renderEnv(served: Served): PrefectEnv {
  return defined({
    PREFECT_API_URL: served.apiUrl,
    PREFECT_API_KEY: served.apiKey?.reveal(), // the answer to a caller who may have it
    PREFECT_API_AUTH_STRING: served.authString?.reveal(), // the answer to a caller who may have it
    PREFECT_CLOUD_API_URL: served.cloudApiUrl,
    PREFECT_CLOUD_UI_URL: served.cloudUiUrl,
  })
}

type Variables = PrefectEnv & { readonly PREFECT_PROFILE?: string } & Readonly<
    Partial<Record<FollowName, string>>
  >

/** Empty where there is none, so that nothing of the profile before is left in a prompt. */
function followEnv(served: Served): Readonly<Record<FollowName, string>> {
  return {
    PREFECT_AUTH_PROFILE: served.profile,
    PREFECT_AUTH_WORKSPACE: served.workspace?.handle ?? '',
    PREFECT_AUTH_EXPIRES: renderTime(served.key?.expiresAt) ?? '',
    PREFECT_AUTH_SET: pairMark(renderEnv(served)),
  }
}

function renderDirect(format: EnvFormat, env: Variables, notes: readonly string[] = []): string {
  const whole = wholeEnv(env)
  if (format === 'json') return `${JSON.stringify(whole)}\n`
  return `${renderRemovals(format)}${renderShell(format, whole, whole)}${renderNotes(notes)}`
}

/** Comments, for the end: every shell skips them, and a caller who joins the lines loses nothing. */
export function renderNotes(notes: readonly string[]): string {
  return notes.map((note) => `# ${note}\n`).join('')
}

/** Throws `login_required` for a profile that leads nowhere: Prefect would start a server of its own for the job. */
export function requirePair(served: Served): Served {
  if (served.kind !== 'none') return served
  const { profile, because } = served
  throw new BrokerError('login_required', `profile ${shownName(profile)} has no API URL (${because})`, {
    hint: loginCommandFor(profile),
  })
}

/** Whether there is no pair to be had for this profile. Throws if there is one that cannot be served at the moment. */
function isWithoutPair(credentials: Credentials, profile: string | undefined): boolean {
  const { outcome } = credentials.state(profile)
  if (outcome.kind === 'served') return outcome.served.kind === 'none'
  return WITHOUT_PAIR.has(outcome.error.code)
}

const WITHOUT_PAIR: ReadonlySet<ErrorCode> = new Set([
  'login_required',
  'profiles_file_invalid',
  'profiles_file_unreadable',
])
