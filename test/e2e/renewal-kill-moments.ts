import t from 'tap'
import { killRenewals } from '../fixtures/kill-renewals.js'

t.setTimeout(300_000)

const rounds = process.env.PAB_LONG === '1' ? 400 : 52
/** A renewal takes about so long; a start that recovers takes longer. */
const LONGEST_MS = 250

t.test(`killed ${rounds} times at random moments: never a wrong answer`, { timeout: 290_000 }, (t) =>
  killRenewals(t, {
    rounds,
    moment: (_round, _sim, renewal) =>
      Promise.race([renewal, new Promise((resolve) => setTimeout(resolve, Math.random() * LONGEST_MS))]),
  }),
)
