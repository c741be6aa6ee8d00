/**
 * The real daemon, killed at random moments of real commands, over disks, vaults and a Prefect that fail, beside another program
 * that writes profiles.toml. What a command reported is what holds, every answer is one that some whole state had, no key is lost.
 * A failure prints its seed, its last steps and the daemon's log: PAB_SEED=… PAB_KILLS=1 lives that life again, though it may not
 * die at the same moment. PAB_KILLS=500 node --import=tsx test/e2e/command-kills.ts takes longer than the test runner allows.
 */
import fc from 'fast-check'
import t, { type Test } from 'tap'
import { command } from '../daemon/fixtures/model-commands.js'
import { randomOf } from '../daemon/fixtures/model-lives.js'
import type { Command } from '../daemon/fixtures/model-script.js'
import { makeRoot } from '../fixtures/broker.js'
import { buildCli } from '../fixtures/built-cli.js'
import { buildDaemon } from '../fixtures/daemon-program.js'
import { createLife } from './fixtures/kills-life.js'
import { createMachine, type Programs } from './fixtures/kills-machine.js'
import { type Counts, createRun } from './fixtures/kills-run.js'

const kills = Number(process.env.PAB_KILLS ?? 50)
const seed = Number(process.env.PAB_SEED ?? 1)
/** Then the next life begins, on a new machine. */
const KILLS_OF_A_LIFE = 10

t.setTimeout(0)

t.test(`${kills} kills, seed ${seed}`, { timeout: 60_000 + kills * 60_000 }, async (t) => {
  const programs = { daemon: await buildDaemon(t), cli: (await buildCli(t)).program }
  const counts: Counts = { kills: 0, hits: 0, answers: 0, done: new Map() }
  for (let life = seed; counts.kills < kills; life += 1) await live(t, programs, life, counts)
  const told = [...counts.done].map(([kind, count]) => `${kind} ${count}`).sort()
  t.comment(
    `${counts.kills} kills, ${counts.hits} of them in the middle of a change, ${counts.answers} answers; done: ${told.join(', ')}`,
  )
  t.ok(counts.hits > kills / 20, 'changes were really cut off')
  t.ok(counts.answers > kills, 'readers did get answers')
  const done = [...counts.done.values()].reduce((sum, count) => sum + count, 0)
  t.ok(done > kills / 5, 'commands were done as well')
})

async function live(t: Test, programs: Programs, seed: number, counts: Counts): Promise<void> {
  const random = randomOf(seed)
  const [hasPassphrase, keyListing] = [random() < 0.3, random() < 0.5]
  const machine = await createMachine(t, programs, { root: await makeRoot(t), hasPassphrase, keyListing })
  const daemon = machine.start()
  await daemon.up()
  const life = createLife(machine, daemon)
  const run = await createRun(life, random, counts)
  const last = counts.kills + KILLS_OF_A_LIFE
  try {
    await run.settleIn()
    for (const one of fc.sample(command, { numRuns: 1000, seed })) {
      if (counts.kills >= last) break
      await run.obey(killed(one, random))
    }
    await run.comeToRest()
    life.checkSecrets([...life.logs, life.daemon.stderr()])
    if (life.wrongs.length > 0) throw new Error(life.wrongs.join('\n'))
    t.pass(`life ${seed}`)
  } catch (error) {
    const what = error instanceof Error ? error.stack : String(error)
    const log = [...life.logs, life.daemon.stderr()].join('').split('\n').slice(-120)
    for (const line of [...life.trace.slice(-60), ...log]) t.comment(line)
    throw new Error(`PAB_SEED=${seed} ${what}`)
  } finally {
    await run.stopReading()
    life.daemon.child.kill('SIGKILL')
    await life.daemon.ended()
    await machine.close()
  }
}

/** The model has kills in half of its commands: here most have one, as each takes a second. */
function killed(command: Command, random: () => number): Command {
  if (command.kind !== 'acts' || command.kill !== undefined || random() < 0.4) return command
  return { ...command, kill: 1 + Math.floor(random() * 40) }
}
