/** Questions before a write: listed, looked at and answered by the owner alone. */
import type { AskFacts } from '../asks/asks.js'
import { BrokerError } from '../base/errors.js'
import type { ApiServer } from '../http/schema.js'
import { HOUR_MS } from '../std/clock.js'
import { defined } from '../std/defined.js'
import { type AskView, answerAskBody, answeredAsk, askDetail, askList, askParams } from '../wire/asks.js'
import type { RouteContext } from './context.js'
import { renderTime } from './view.js'

export function askRoutes(api: ApiServer, context: RouteContext): void {
  const { asks } = context.desk
  api.get(
    '/v1/asks',
    {
      config: { onPage: true, needs: 'admin', summary: 'Requests that wait for your yes' },
      schema: { response: { 200: askList } },
    },
    async (_request, reply) => {
      const open = await asks.list()
      const allowed = asks.allowances().map(({ tokenId, tokenName, profile, operation, until }) => ({
        ...{ token: { id: tokenId, name: tokenName }, profile, operation },
        until: renderTime(until),
      }))
      return reply.send({ asks: open.map(renderAsk), allowed })
    },
  )
  api.get(
    '/v1/asks/:id',
    {
      config: { onPage: true, needs: 'admin', summary: 'One of them, with its body' },
      schema: { params: askParams, response: { 200: askDetail } },
    },
    async (request, reply) => {
      const { body, ...facts } = await asks.find(request.params.id)
      const isEmpty = facts.bodyBytes === 0
      return reply.send({
        ...renderAsk(facts),
        ...defined({
          body: isEmpty ? undefined : body.text,
          body_cut: body.isCut ? (true as const) : undefined,
          media_type: body.mediaType,
        }),
      })
    },
  )
  answerRoute(api, context)
}

function answerRoute(api: ApiServer, { clock, desk, findPeer, guard, page, trail }: RouteContext): void {
  api.post(
    '/v1/asks/:id',
    {
      config: { onPage: true, needs: 'admin', summary: 'Answer yes or no' },
      schema: { params: askParams, body: answerAskBody, response: { 200: answeredAsk } },
    },
    async (request, reply) => {
      const { accept, for: span, digest } = request.body
      if (!accept && span === 'hour') {
        throw new BrokerError('bad_request', "'for' in the body can be hour only with a yes")
      }
      const caller = guard.callerOf(request)
      const find = () => (caller.door === 'page' ? page.answerer(request.raw) : findPeer(request.raw.socket))
      const peer = accept ? await find() : undefined
      const answer = accept ? span : 'no'
      const answerer = { kind: 'program', peer } as const
      const facts = await desk.asks.answer(request.params.id, answer, answerer, defined({ digest }))
      trail.done(request, caller, accept ? 'ask_accepted' : 'ask_refused', {
        profile: facts.profile,
        aboutId: facts.token.id,
        aboutName: facts.token.name,
      })
      const until = answer === 'hour' ? renderTime(clock.now() + HOUR_MS) : undefined
      return reply.send({ ...renderAsk(facts), answer: accept ? 'yes' : 'no', ...defined({ until }) })
    },
  )
}

function renderAsk({ token, openedAt, lastAskedAt, givesUp, bodyBytes, who, ...facts }: AskFacts): AskView {
  const { id, profile, sentence, operation, effect, method, path, digest } = facts
  return {
    ...{ id, profile, token, sentence, operation, method, path, digest },
    who: [...who],
    opened_at: renderTime(openedAt),
    last_asked_at: renderTime(lastAskedAt),
    body_bytes: bodyBytes,
    ...defined({ effect, gives_up: givesUp }),
  }
}
