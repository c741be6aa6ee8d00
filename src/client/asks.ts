/** The calls about questions before a write. */
import { type AnswerAskBody, answeredAsk, askDetail, askList } from '../wire/asks.js'
import type { Caller } from './caller.js'

export function createAskCalls({ call }: Caller) {
  return {
    asks: () => call(askList, { method: 'GET', path: '/v1/asks' }),
    oneAsk: (id: number) => call(askDetail, { method: 'GET', path: `/v1/asks/${id}` }),
    answerAsk: (id: number, body: AnswerAskBody) =>
      call(answeredAsk, { method: 'POST', path: `/v1/asks/${id}`, body }),
  }
}
