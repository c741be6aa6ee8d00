/** The daemon killed at random moments of a renewal. */
import t from 'tap'
import { killRenewals } from '../fixtures/kill-renewals.js'

t.setTimeout(880_000)

const rounds = process.env.PAB_LONG === '1' ? 400 : 52
/** About the duration of a renewal; a start with recovery takes longer. */
const LONGEST_MS = 250

t.test(`killed ${rounds} times at random moments, it never serves a wrong key`, { timeout: 880_000 }, (t) =>
  killRenewals(t, {
    rounds,
    moment: (_round, _sim, renewal) =>
      Promise.race([renewal, new Promise((resolve) => setTimeout(resolve, Math.random() * LONGEST_MS))]),
  }),
)
