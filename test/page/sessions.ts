/** Links and sessions: one use, one minute, and what a second use does. */
import t from 'tap'
import { createPageSessions, LINK_MS } from '../../src/page/sessions.js'
import { createManualClock } from '../fixtures/manual-clock.js'

function start() {
  const clock = createManualClock()
  let made = 0
  const randomToken = () => String(++made).padStart(43, 'x')
  const sessions = createPageSessions({ clock, randomToken })
  const open = () => {
    const link = sessions.link().secret.reveal()
    const swapped = sessions.swap(link)
    return { link, bearer: swapped.kind === 'opened' ? swapped.bearer.reveal() : '' }
  }
  const knows = (bearer: string) => sessions.find(bearer) !== undefined
  return { clock, sessions, open, knows }
}

t.test('a link opens one session, and its bearer is another secret', async (t) => {
  const { knows, open } = start()
  const { link, bearer } = open()
  t.equal(bearer.length, 43)
  t.not(bearer, link)
  t.ok(knows(bearer))
  t.notOk(knows(link), 'the link is no bearer')
  t.notOk(knows(''))
})

t.test('the second use of a link is noticed, and ends what the first began', async (t) => {
  const { sessions, knows, open } = start()
  const other = open()
  const { link, bearer } = open()
  t.same(sessions.swap(link), { kind: 'used' })
  t.notOk(knows(bearer))
  t.same(sessions.swap(link), { kind: 'used' }, 'also the third')
  t.ok(knows(other.bearer), 'other pages go on')
})

t.test('a link that nobody used in time opens nothing', async (t) => {
  const { clock, sessions } = start()
  const link = () => sessions.link().secret.reveal()
  const cases = [
    ['a minute has passed', () => clock.pass(LINK_MS + 1)],
    ['the machine slept', () => clock.sleep(LINK_MS + 1)],
    [
      'a minute has passed, and the wall clock was set back',
      () => {
        clock.setWall(0)
        clock.pass(LINK_MS + 1)
      },
    ],
  ] as const
  for (const [what, happen] of cases) {
    const late = link()
    happen()
    t.same(sessions.swap(late), { kind: 'unknown' }, what)
  }
  const intime = link()
  clock.pass(LINK_MS - 1)
  t.equal(sessions.swap(intime).kind, 'opened', 'and in time it opens')
})

t.test('nobody’s link opens nothing', async (t) => {
  const { sessions } = start()
  for (const guess of ['', 'x'.repeat(43), '__proto__'])
    t.same(sessions.swap(guess), { kind: 'unknown' }, guess)
})

t.test('of more than eight links the oldest end', async (t) => {
  const { knows, open } = start()
  const first = open()
  for (let count = 0; count < 7; count += 1) open()
  t.ok(knows(first.bearer))
  open()
  t.notOk(knows(first.bearer))
})

t.test('the end ends all', async (t) => {
  const { sessions, knows, open } = start()
  const { bearer } = open()
  const link = sessions.link().secret.reveal()
  sessions.end()
  t.notOk(knows(bearer))
  t.same(sessions.swap(link), { kind: 'unknown' })
})
