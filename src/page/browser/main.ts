/** The page: swaps its link, shows what the daemon says, and follows its events. */
import { describeOwner, printable } from '../../cli/text.js'
import { failureOf } from '../../client/failure.js'
import type { Status } from '../../wire/status.js'
import { type Broker, createBroker, isOver, swapLink } from './broker.js'
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
const RETRY_MS = 2_000

async function start(): Promise<void> {
  const link = location.hash.slice(1)
  // Not in the history, nor in what is shared or restored.
  history.replaceState(null, '', '/')
  if (link === '') return end('This page has no link. Open a new one:')
  try {
    await run(createBroker(await swapLink(link)))
  } catch (error) {
    end(failureOf(error)?.detail ?? 'The daemon does not answer. When it runs again, open a new page:')
  }
}

async function run(broker: Broker): Promise<void> {
  const look = createLook(broker)
  await look()
  let settling: ReturnType<typeof setTimeout> | undefined
  const settle = () => {
    clearTimeout(settling)
    settling = setTimeout(() => void look().catch(() => undefined), SETTLE_MS)
  }
  setInterval(() => {
    if (document.visibilityState === 'visible') settle()
  }, LOOK_MS)
  document.addEventListener('visibilitychange', settle)
  for (;;) {
    say('live')
    await broker
      .follow(({ type }) => {
        if (type === 'page.alarm')
          warn(
            'The link to this page was used a second time. If that was not you, somebody else has seen it.',
          )
        settle()
      })
      .catch((error: unknown) => {
        if (isOver(error)) throw error
      })
    say('connection lost, trying again')
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS))
  }
}

/** Asks for everything and shows it. One at a time: a second call while one runs looks once more after it. */
function createLook(broker: Broker): () => Promise<void> {
  let running: Promise<void> | undefined
  let isStale = false
  const once = async () => {
    const now = Date.now()
    const [status, doctor, tokens, audit] = await Promise.all([
      broker.status(),
      broker.doctor(),
      broker.tokens(),
      broker.audit(now - DAY_MS),
    ])
    showHead(status)
    show('findings', ...showFindings(status, doctor))
    show('keys', ...showKeys(status, now))
    show(
      'callers',
      ...showCallers(status, tokens, { now, onRevoke: (id) => void broker.revoke(id).catch(tell) }),
    )
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

function showHead({ active, profiles, daemon }: Status): void {
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
  part('alarm').append(h('p', { class: 'box bad' }, printable(text), ' ', h('code', {}, 'prefect-auth ui')))
}

void start()
