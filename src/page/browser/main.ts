/** The page: swaps its link, shows what the daemon says, and follows its events. */
import { describeOwner, printable } from '../../cli/text.js'
import { failureOf } from '../../client/failure.js'
import type { AskDetail } from '../../wire/asks.js'
import type { Status } from '../../wire/status.js'
import { type Answer, showAllowed, showAsks } from './asks.js'
import { type Broker, createBroker, swapLink } from './broker.js'
import { showCallers } from './callers.js'
import { h, part, show } from './dom.js'
import { showFindings } from './findings.js'
import { showKeys } from './keys.js'
import { showLog } from './log.js'

const DAY_MS = 86_400_000
/** While somebody looks: lifetimes count down, and the daemon keeps the page open. */
const LOOK_MS = 30_000
/** Changes come in groups. */
const SETTLE_MS = 150
/** A little more than the daemon's. */
const ACCEPT_AFTER_MS = 5_200
/** Ten minutes after its last use, or when the daemon stopped. */
const GONE = 'This page is closed and no longer up to date. Open a new one:'
const ALARM =
  'A link to this page was used twice. If that was not you, another program has seen the link: prefect-auth audit'

async function start(): Promise<void> {
  const link = location.hash.slice(1)
  // Not in the history, nor in what is shared or restored.
  history.replaceState(null, '', '/')
  if (link === '') return end('This page has no link. Open a new one:')
  try {
    await run(createBroker(await swapLink(link)))
    end(GONE)
  } catch (error) {
    end(failureOf(error)?.detail ?? GONE)
  }
}

/** Resolves, or throws, once the daemon has closed this page. */
async function run(broker: Broker): Promise<void> {
  const look = createLook(broker)
  await look()
  let settling: ReturnType<typeof setTimeout> | undefined
  const lookSoon = () => {
    clearTimeout(settling)
    settling = setTimeout(() => void look().catch(() => undefined), SETTLE_MS)
  }
  // A page that nobody looks at does not keep the daemon's listener open.
  const settle = () => {
    if (document.visibilityState === 'visible') lookSoon()
  }
  const ticking = setInterval(settle, LOOK_MS)
  document.addEventListener('visibilitychange', settle)
  setTimeout(settle, ACCEPT_AFTER_MS)
  say('live')
  try {
    await broker.follow(({ type }) => {
      if (type === 'page.alarm') warn(ALARM)
      // The title counts the questions.
      if (type === 'ask.opened') lookSoon()
      else settle()
    })
  } finally {
    // Another program may get the port: nothing more is sent there.
    clearTimeout(settling)
    clearInterval(ticking)
    document.removeEventListener('visibilitychange', settle)
  }
}

/** Asks for everything and shows it. One at a time: a second call while one runs looks once more after it. */
function createLook(broker: Broker): () => Promise<void> {
  // Pressed once: an update must not take the first press back.
  const sure = new Set<string>()
  const onRevoke = (id: string) => void broker.revoke(id).catch(tell)
  const onAnswer = ({ id, digest }: AskDetail, answer: Answer) =>
    broker
      .answer(id, { accept: answer !== 'no', for: answer === 'hour' ? 'hour' : 'once', digest })
      .catch(tell)
  const openedAt = performance.now()
  let running: Promise<void> | undefined
  let isStale = false
  const once = async () => {
    const now = Date.now()
    const [asks, status, doctor, tokens, audit] = await Promise.all([
      broker.asks(),
      broker.status(),
      broker.doctor(),
      broker.tokens(),
      broker.audit(now - DAY_MS),
    ])
    const open = await Promise.all(asks.asks.map(({ id }) => broker.ask(id)))
    const questions = open.filter((one) => one !== undefined)
    const mayAccept = performance.now() - openedAt > ACCEPT_AFTER_MS
    showHead(status, questions.length)
    part('asks-section').hidden = questions.length + asks.allowed.length === 0
    show('asks', ...showAsks(questions, { mayAccept, onAnswer }))
    show('allowed', ...showAllowed(asks))
    show('findings', ...showFindings(status, doctor))
    show('keys', ...showKeys(status, now))
    show('callers', ...showCallers(status, tokens, { now, sure, onRevoke }))
    show('audit', ...showLog(audit.entries))
  }
  const look = async (): Promise<void> => {
    if (running !== undefined) {
      isStale = true
      return running
    }
    running = once().finally(() => {
      running = undefined
    })
    await running
    if (!isStale) return
    isStale = false
    return look()
  }
  return look
}

function showHead({ active, profiles, daemon }: Status, questions: number): void {
  document.title = questions === 0 ? 'prefect-auth' : `(${questions}) prefect-auth`
  const owner = profiles.find(({ name }) => name === active)?.owner
  const who = owner === undefined ? 'not logged in' : describeOwner(owner)
  show(
    'who',
    h('span', {}, `profile ${printable(active)}, ${printable(who)}, daemon ${printable(daemon.version)}`),
  )
}

function say(text: string): void {
  part('connection').textContent = text
}

function warn(text: string): void {
  part('alarm').replaceChildren(h('p', { class: 'box bad' }, text))
}

function tell(error: unknown): void {
  warn(failureOf(error)?.detail ?? 'The daemon did not answer.')
}

function end(text: string): void {
  say('closed')
  for (const button of document.querySelectorAll('button')) button.disabled = true
  part('alarm').append(h('p', { class: 'box bad' }, printable(text), ' ', h('code', {}, 'prefect-auth ui')))
}

void start()
