/** Open questions, each with the request it is about, and its answers. */
import { counted, formatTime, printable, printableLines } from '../../cli/text.js'
import type { AskDetail, AskList } from '../../wire/asks.js'
import { h } from './dom.js'

export type Answer = 'once' | 'hour' | 'no'

interface Shown {
  /** False for the first seconds, in which the daemon accepts no yes. */
  readonly mayAccept: boolean
  readonly onAnswer: (ask: AskDetail, answer: Answer) => Promise<void>
}

/** Questions move up when one above is answered: a click so soon after that was meant for another. */
const STILL_MS = 500

export function showAsks(asks: readonly AskDetail[], shown: Shown): readonly HTMLElement[] {
  const shownAt = performance.now()
  return asks.map((ask) => showAsk(ask, shown, shownAt))
}

function showAsk(ask: AskDetail, { mayAccept, onAnswer }: Shown, shownAt: number): HTMLElement {
  const { id, profile, sentence, token, who, opened_at, gives_up } = ask
  let isSent = false
  const button = (answer: Answer, text: string) => {
    const element = h(
      'button',
      {
        type: 'button',
        class: answer === 'no' ? '' : 'main',
        'data-focus': `ask-${id}-${answer}`,
        'aria-describedby': `ask-${id}`,
        ...(mayAccept || answer === 'no' ? {} : { disabled: '' }),
      },
      text,
    )
    element.addEventListener('click', () => {
      if (isSent || performance.now() - shownAt < STILL_MS) return
      isSent = true
      void onAnswer(ask, answer).finally(() => {
        isSent = false
      })
    })
    return element
  }
  return h(
    'article',
    { class: 'box warn' },
    h('h3', { id: `ask-${id}` }, printable(sentence)),
    h(
      'p',
      {},
      `Token ${printable(token.name)}, profile ${printable(profile)}, since ${formatTime(opened_at)} UTC.`,
    ),
    h(
      'p',
      { class: 'quiet' },
      `Asked by ${printable(who.at(-1) ?? 'a program that the system does not name')}`,
    ),
    gives_up === true
      ? h(
          'p',
          { class: 'warn-text' },
          'This Prefect is older than 3.3.1 and gives up after about two minutes.',
        )
      : undefined,
    showRequest(ask),
    button('once', 'Yes, once'),
    button('hour', 'Yes, for an hour'),
    button('no', 'No'),
  )
}

function showRequest(ask: AskDetail): HTMLElement {
  const { id, method, path, operation, effect, body, body_bytes, body_cut } = ask
  const size = counted(body_bytes, 'byte')
  const cut = body_cut === true ? ', of which this is the beginning' : ''
  const about = body_bytes === 0 ? 'No body.' : body === undefined ? `${size}, not text.` : `${size}${cut}:`
  return h(
    'details',
    { id: `request-${id}` },
    h('summary', { 'data-focus': `request-${id}` }, 'The request'),
    h('p', {}, h('code', {}, printable(`${method} ${path}`))),
    h('p', {}, `“Yes, for an hour” allows every `, h('code', {}, printable(operation)), ` of this token.`),
    h('p', {}, `${effect === undefined ? 'prefect-auth does not know this operation. ' : ''}${about}`),
    // Scrolls, so it is reached by keyboard.
    body === undefined
      ? undefined
      : h(
          'pre',
          {
            tabindex: '0',
            role: 'region',
            'aria-label': `Body of question ${id}`,
            'data-focus': `body-${id}`,
          },
          readable(body),
        ),
  )
}

/** JSON as people read it; anything else as it is. */
function readable(body: string): string {
  try {
    return printableLines(JSON.stringify(JSON.parse(body), undefined, 2))
  } catch {
    return printableLines(body)
  }
}

/** What was allowed for an hour. */
export function showAllowed({ allowed }: AskList): readonly HTMLElement[] {
  return allowed.map(({ token, profile, operation, until }) =>
    h(
      'p',
      { class: 'box' },
      `Allowed until ${formatTime(until)} UTC, for token ${printable(token.name)}, profile ${printable(profile)}: `,
      h('code', {}, printable(operation)),
    ),
  )
}
