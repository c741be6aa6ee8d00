/** The daemon killed at many moments of a login: it never serves a wrong key. */
import t from 'tap'
import { startCloudSimulator } from '../../sim/simulator.js'
import { makeRoot } from '../fixtures/broker.js'
import { buildDaemon, logInWithKey, servedKey, startProgram } from '../fixtures/daemon-program.js'

const ROUNDS = 30

t.test(
  `killed at ${ROUNDS} moments of a login: never a wrong key, never none where there was one`,
  { timeout: 110_000 },
  async (t) => {
    const program = await buildDaemon(t)
    const sim = await startCloudSimulator()
    t.after(() => sim.close())
    const root = await makeRoot(t)
    let generation = 0
    let finished = 0
    let daemon = startProgram(t, { program, root, sim })
    await daemon.up()
    // How long an uninterrupted login of a fresh daemon takes on this machine.
    const began = performance.now()
    await logInWithKey(daemon, sim.issueKey({ name: 'delivered before' }))
    const loginMs = performance.now() - began
    let last = await servedKey(daemon)
    daemon.child.kill('SIGKILL')
    await daemon.ended()
    daemon = startProgram(t, { program, root, sim })
    await daemon.up()
    for (let round = 0; round < ROUNDS; round += 1) {
      const key = sim.issueKey({ name: `delivered ${round}` })
      const posts = sim.requests.filter(({ method }) => method === 'POST').length
      const login = logInWithKey(daemon, key).then(
        () => {
          finished += 1
        },
        () => undefined,
      )
      // From before the first write to after the last, in even steps.
      await Promise.race([
        login,
        new Promise((resolve) => setTimeout(resolve, (round / ROUNDS) * 1.5 * loginMs)),
      ])
      daemon.child.kill('SIGKILL')
      await daemon.ended()
      await login
      daemon = startProgram(t, { program, root, sim })
      await daemon.up()
      const { body } = await daemon.ask('GET', '/v1/credentials')
      const served = await servedKey(daemon)
      const known = sim.keys.find(served ?? '')
      if (last !== undefined || served !== undefined) {
        t.ok(known, `round ${round}: a key of Prefect's is served (${served?.slice(0, 4)})`)
        t.equal(known?.deletedAt, undefined, `round ${round}: and it is not deleted`)
        t.match(JSON.stringify(body), sim.workspaceUrl('prefect/terry'), `round ${round}: with its URL`)
      }
      t.ok(Number(body.generation) >= generation, `round ${round}: generation`)
      t.ok(
        sim.requests.filter(({ method }) => method === 'POST').length <= posts + 1,
        `round ${round}: one mint at most`,
      )
      generation = Number(body.generation)
      last = served
    }
    t.ok(finished < ROUNDS, 'some logins were interrupted')
    t.ok(last, 'and in the end there is a key')
  },
)
