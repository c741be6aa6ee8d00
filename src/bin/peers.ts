/** What `prefect-authd-peers@.service` runs outside the daemon's sandbox: says which process has a connection, once. */
import { createInterface } from 'node:readline'
import { answerPeerQuestion } from '../os/peer-finder.js'
import { SECOND_MS, systemClock } from '../std/clock.js'

/** Whoever connects and sends nothing. */
const LIFE_MS = 4 * SECOND_MS

setTimeout(() => process.exit(1), LIFE_MS).unref()
const lines = createInterface({ input: process.stdin })
lines.once('line', (line) => {
  answerPeerQuestion(line, systemClock()).then(
    (answer) => process.stdout.write(answer, () => process.exit(0)),
    () => process.exit(1),
  )
})
lines.once('close', () => setTimeout(() => process.exit(1), LIFE_MS).unref())
