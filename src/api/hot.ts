/** The requests that local processes repeat, answered before the framework has them: the same guard, answers and audit lines. */

import { guarded } from '../http/guarded.js'
import type { RequestHead, WholeAnswer } from '../http/request.js'
import { remembering } from '../std/remembering.js'
import type { Caller, Power } from '../tokens/access.js'
import { ENV_FORMATS, type EnvFormat } from '../wire/kinds.js'
import type { RouteContext } from './context.js'
import { type EnvQuestion, pickProfile, type Tagged, variablesType } from './hand-out.js'

interface Target {
  readonly path: '/livez' | '/v1/credentials' | '/v1/env'
  readonly needs: Power | 'none'
  readonly question: EnvQuestion
}

/** In its own order: Node writes it as it is. */
type HeaderList = readonly string[]

/** Hands a request over that it does not answer: every refusal and failure, and whatever is not in the plain form. */
export type Hot = (request: RequestHead, respond: Respond, handOver: () => void) => void

/** `isLast`: the connection ends once the answer is out. */
type Respond = (answer: WholeAnswer, isLast: boolean) => void

type HotParts = Pick<RouteContext, 'guard' | 'holds' | 'credentials' | 'metrics' | 'handOut'>

export function createHot({ guard, holds, credentials, metrics, handOut }: HotParts): Hot {
  // A pair that is sent again has one answer, which is rendered once.
  const again = remembering(answerWith)
  /** At once if nothing is to be waited for. */
  const answer = (request: RequestHead, target: Target): WholeAnswer | Promise<WholeAnswer> => {
    const { path, needs, question } = target
    const caller = guard.admitTo(request, needs, question.profile)
    if (path === '/livez') return LIVE
    if (path === '/v1/credentials' && credentials.refresh() === undefined) {
      const current = credentials.serve(pickProfile(caller, question.profile, credentials))
      const pair = handOut.pairAgain(request, caller, current)
      if (pair !== undefined) return again(pair)
    }
    return answerLater(request, caller, target)
  }
  const answerLater = async (
    request: RequestHead,
    caller: Caller,
    { path, question }: Target,
  ): Promise<WholeAnswer> => {
    if (path === '/v1/env') {
      const body = await handOut.variables(request, caller, question)
      return text(variablesType(question.format), body)
    }
    await credentials.refresh()
    const current = credentials.serve(pickProfile(caller, question.profile, credentials))
    return again(await handOut.pair(request, caller, current))
  }
  const send = (path: string, respond: Respond, found: WholeAnswer) => {
    // A kept-alive connection would delay the shutdown.
    respond(found, holds.isStopping())
    metrics.answered('GET', path, found.status)
  }
  return (request, respond, handOver) => {
    const target = targetOf(request)
    if (target === undefined) return handOver()
    // The framework decides again, and says no in its own words.
    let found: ReturnType<typeof answer>
    try {
      found = answer(request, target)
    } catch {
      return handOver()
    }
    const { socket } = request
    if (!(found instanceof Promise)) send(target.path, respond, found)
    else
      found.then(
        guarded(socket, (whole) => send(target.path, respond, whole)),
        guarded(socket, handOver),
      )
  }
}

const NO_STORE = ['cache-control', 'no-store'] as const

function text(type: string, body: string, more: HeaderList = []): WholeAnswer {
  const length = String(Buffer.byteLength(body))
  return {
    status: 200,
    headers: [...NO_STORE, ...more, 'content-type', type, 'content-length', length],
    body,
  }
}

function answerWith({ tag, body }: Tagged): WholeAnswer {
  if (body === undefined) return { status: 304, headers: [...NO_STORE, 'etag', tag] }
  return text('application/json; charset=utf-8', body, ['etag', tag])
}

const LIVE = text('application/json; charset=utf-8', JSON.stringify({ live: true }))

/** `undefined` unless the request is one of ours in its plain form, without a body and without a wait. */
function targetOf({ method, url = '', headers }: RequestHead): Target | undefined {
  if (method !== 'GET' || BODY_OR_WAIT.some((name) => headers[name] !== undefined)) return undefined
  const [path, query] = splitOnce(url)
  const question = questionIn(query)
  if (question === undefined) return undefined
  switch (path) {
    case '/livez':
      return query === undefined ? { path, needs: 'none', question } : undefined
    case '/v1/credentials':
      return isProfileAlone(query) ? { path, needs: 'use', question } : undefined
    case '/v1/env':
      return { path, needs: 'use', question }
    default:
      return undefined
  }
}

const BODY_OR_WAIT = ['content-length', 'transfer-encoding', 'prefer'] as const

function splitOnce(url: string): readonly [path: string, query: string | undefined] {
  const at = url.indexOf('?')
  return at === -1 ? [url, undefined] : [url.slice(0, at), url.slice(at + 1)]
}

function isProfileAlone(query: string | undefined): boolean {
  return query === undefined || (query.startsWith('profile=') && !query.includes('&'))
}

/** Names and values that mean themselves in every reading of a URL, each name once. `undefined`: something else. */
function questionIn(query: string | undefined): EnvQuestion | undefined {
  let question: EnvQuestion = { format: 'sh' }
  if (query === undefined) return question
  const seen = new Set<string>()
  for (const pair of query.split('&')) {
    const [, name = '', value = ''] = /^([a-z_]+)=([\w.-]{1,200})$/.exec(pair) ?? []
    const known = seen.has(name) ? undefined : readPair(name, value)
    if (known === undefined) return undefined
    seen.add(name)
    question = { ...question, ...known }
  }
  return question
}

function readPair(name: string, value: string): Partial<EnvQuestion> | undefined {
  if (name === 'profile') return { profile: value }
  if (name === 'format') {
    const format = ENV_FORMATS.find((one): one is EnvFormat => one === value)
    return format && { format }
  }
  if (name !== 'follow' && name !== 'allow_none') return undefined
  return value === 'true' || value === 'false' ? { [name]: value === 'true' } : undefined
}
