/**
 * Random lives of the whole broker: every command, side by side, killed between any two steps, over failing disks, vaults and
 * networks, beside other programs that write the profile file, under clocks that jump. A failure prints seed and path:
 * PAB_SEED=… PAB_PATH=… runs it again. `node scripts/model.mjs` runs as many as wanted, and shows that the model finds bugs.
 * The seed is a fixed one, so that a failure here comes from the change that is tested; other lives are for the script.
 */
import t from 'tap'
import { defined } from '../../src/std/defined.js'
import { runLives } from './fixtures/model-lives.js'

const lives = Number(process.env.PAB_LIVES ?? 300)
const seed = Number(process.env.PAB_SEED ?? 1)

t.setTimeout(600_000)

t.test(`${lives} random lives, seed ${seed}`, { timeout: 590_000 }, async (t) => {
  const { kills, done } = await runLives({ lives, seed, ...defined({ path: process.env.PAB_PATH }) })
  const told = [...done].map(([kind, count]) => `${kind} ${count}`).sort()
  t.comment(`${kills} kills; done: ${told.join(', ')}`)
  t.ok(kills > lives / 2, 'there were kills')
  for (const kind of [
    'login',
    'adopt',
    'renew',
    'robot',
    'logout',
    'revoke',
    'rename',
    'delete',
    'workspace',
  ]) {
    t.ok((done.get(kind) ?? 0) > lives / 100, `${kind} is done now and then`)
  }
})
