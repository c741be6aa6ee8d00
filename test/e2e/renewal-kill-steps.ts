/** The daemon killed at every step of a renewal. */
import t from 'tap'
import { killRenewals, STEPS, untilAsked } from '../fixtures/kill-renewals.js'

t.setTimeout(880_000)

const rounds = process.env.PAB_LONG === '1' ? 400 : 52

t.test(
  `killed ${rounds} times at every step in turn, it never serves a wrong key`,
  { timeout: 880_000 },
  (t) =>
    killRenewals(t, {
      rounds,
      moment: (round, sim, renewal) => untilAsked(sim, STEPS[round % STEPS.length] ?? STEPS[0], renewal),
    }),
)
