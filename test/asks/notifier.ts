/** Which questions are on the desktop, and what becomes of a button. */
import t from 'tap'
import type { Asks } from '../../src/asks/asks.js'
import type { AskDesktop, DesktopQuestion } from '../../src/asks/desktop.js'
import { showQuestions } from '../../src/asks/notifier.js'
import { createEvents } from '../../src/base/events.js'
import { silentLog } from '../../src/std/log.js'
import { createManualClock } from '../fixtures/manual-clock.js'
import { memoryAudit } from '../fixtures/memory-parts.js'

const SECOND = 1000

function start({ notices = [] }: { notices?: string[] } = {}) {
  const clock = createManualClock()
  const events = createEvents({ clock, epoch: 'a' })
  const audit = memoryAudit(clock)
  const shown = new Map<
    number,
    { question: DesktopQuestion; press(key: Awaited<ReturnType<AskDesktop>>): void }
  >()
  const gone: number[] = []
  const answers: unknown[][] = []
  const asks: Pick<Asks, 'find' | 'answer'> = {
    find: async (id) => ({
      ...{
        id,
        profile: 'cloud',
        token: { id: 'ab', name: 'agent' },
        sentence: `start ${id}`,
        operation: 'POST /x',
      },
      ...{
        method: 'POST',
        path: '/x',
        who: ['curl[7]'],
        openedAt: 0,
        lastAskedAt: 0,
        digest: `d${id}`,
        bodyBytes: 0,
      },
      body: { isCut: false },
    }),
    async answer(...given) {
      answers.push(given)
      return asks.find(given[0])
    },
  }
  const hide = showQuestions({
    ...{ events, asks, audit, clock, log: silentLog() },
    notify: async ({ body }) => void notices.push(body),
    askDesktop: (question, closed) =>
      new Promise((resolve) => {
        shown.set(question.id, { question, press: resolve })
        closed.addEventListener('abort', () => {
          gone.push(question.id)
          resolve(undefined)
        })
      }),
  })
  const settle = () => new Promise((resolve) => setImmediate(resolve))
  return {
    ...{ clock, shown, gone, answers, hide, audit, settle },
    open: (id: number) => events.emit('ask.opened', { facts: { id } }),
    close: (id: number) => events.emit('ask.closed', { facts: { id } }),
    async press(id: number, key: Awaited<ReturnType<AskDesktop>>) {
      shown.get(id)?.press(key)
      await settle()
    },
    async pass(seconds: number) {
      for (let left = seconds; left > 0; left -= 1) {
        clock.pass(SECOND)
        await settle()
      }
    },
  }
}

const table = [
  ['yes', 'once', 'ask_accepted'],
  ['no', 'no', 'ask_refused'],
] as const
for (const [key, answer, action] of table) {
  t.test(`the button ${key} answers the question that was shown, and is in the audit log`, async (t) => {
    const stage = start()
    stage.open(3)
    await stage.settle()
    t.match(stage.shown.get(3)?.question, { id: 3, sentence: 'start 3', token: 'agent', program: 'curl[7]' })
    await stage.press(3, key)
    t.strictSame(stage.answers, [[3, answer, { kind: 'person' }, { digest: 'd3' }]])
    t.match(stage.audit.entries, [
      { action, outcome: 'done', profile: 'cloud', agent: 'desktop notification' },
    ])
  })
}

t.test('a notification that was closed is no answer', async (t) => {
  const stage = start()
  stage.open(3)
  await stage.settle()
  await stage.press(3, undefined)
  t.strictSame(stage.answers, [])
})

t.test('where nothing can be shown with buttons, the notice names the command', async (t) => {
  const notices: string[] = []
  const stage = start({ notices })
  stage.open(3)
  await stage.settle()
  await stage.press(3, 'unshown')
  t.strictSame([stage.answers, notices], [[], ['start 3\nNow: prefect-auth asks yes 3']])
})

t.test('shows one a second and five at a time, and none that was closed before its turn', async (t) => {
  const stage = start()
  for (let id = 1; id <= 9; id += 1) stage.open(id)
  await stage.settle()
  t.strictSame([...stage.shown.keys()], [1])
  stage.close(2)
  await stage.pass(10)
  t.strictSame([...stage.shown.keys()], [1, 3, 4, 5, 6])
  stage.close(4)
  await stage.pass(2)
  t.strictSame([[...stage.shown.keys()], stage.gone], [[1, 3, 4, 5, 6, 7], [4]])
  await stage.press(1, 'no')
  await stage.pass(2)
  t.strictSame([...stage.shown.keys()].at(-1), 8)
})

t.test('takes away what is shown at the end, and shows nothing more', async (t) => {
  const stage = start()
  stage.open(1)
  stage.open(2)
  await stage.settle()
  await stage.hide()
  await stage.pass(3)
  stage.open(3)
  await stage.settle()
  t.strictSame([[...stage.shown.keys()], stage.gone, stage.answers], [[1], [1], []])
})
