// The model of the whole broker without a test runner: `--lives N [--seed S] [--path P]` runs so many random lives, and
// `--mutations` shows that it finds bugs: each of these, put into the product, must make a life fail.
import { spawn } from 'node:child_process'
import { mkdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { build } from 'esbuild'

const ROOT = process.cwd()
const OUT = join(ROOT, '.cache', `model-${process.pid}`)

/** What is wrong, in which file, and the text that is replaced. */
const MUTATIONS = [
  {
    bug: 'a failed change is not undone in the file',
    file: 'src/keys/undo.ts',
    from: 'if (isToBeTakenBack(file, entry) && isRecorded(entry, keeper)) {',
    to: 'if (!isRecorded(entry, keeper) && isToBeTakenBack(file, entry)) {',
  },
  {
    bug: 'a change shows before it is committed',
    file: 'src/keys/change.ts',
    from: 'held.set(entry.id, hold(profiles))',
    to: 'void hold',
  },
  {
    bug: 'no journal',
    file: 'src/keys/change.ts',
    from: 'return withChange(ledger, entry)',
    to: 'return ledger',
  },
  {
    bug: 'what another program wrote meanwhile is overwritten',
    file: 'src/keys/change.ts',
    from: 'if (tableDigest(reading.file, profile) !== found) throw fileChanged(reading.path)',
    to: 'void [profile, found]',
    alsoIn: 'src/profiles/edit.ts',
    alsoFrom: 'requireExpected(text, edit.name, edit.expected ?? {})',
    alsoTo: 'void requireExpected',
  },
  {
    bug: 'a key leaves the file without a copy in the vault',
    file: 'src/admin/adopt.ts',
    from: 'keys: planned === undefined ? [] : [planned],',
    to: 'keys: [],',
  },
  {
    bug: 'a key is deleted although another profile uses it',
    file: 'src/keys/disposal.ts',
    from: "return isUsed(doomed) ? 'in_use' : cloud.deleteKey(by, userId, cloudId)",
    to: 'return cloud.deleteKey(by, userId, cloudId)',
  },
  {
    bug: 'a replaced key that a job may have is deleted',
    file: 'src/keys/settlement.ts',
    from: 'if (old.handedOut || key === undefined) return',
    to: 'if (key === undefined) return',
  },
  {
    bug: 'a second key is made beside one that waits to be verified',
    file: 'src/renewal/attempt.ts',
    from: 'if (isPending(profile)) throw unsettled(profile)',
    to: 'void unsettled',
  },
  {
    bug: 'a key whose answer was lost is forgotten',
    file: 'src/keys/rotate.ts',
    from: ": writeEntry(journal, { ...entry, step: 'lost' })",
    to: ': dropEntry(journal, entry.id)',
  },
  {
    bug: 'changes of one profile do not take turns',
    file: 'src/keys/turns.ts',
    from: 'Promise.all(names.map((name) => last.get(name))).then(work)',
    to: 'Promise.resolve().then(work)',
  },
  {
    bug: 'generations go on after a crash as if all were written',
    file: 'src/daemon/state.ts',
    from: 'const SKIPPED_GENERATIONS = 1_000_000',
    to: 'const SKIPPED_GENERATIONS = 0',
  },
  {
    bug: 'a rejected key stays rejected',
    file: 'src/keys/verdict.ts',
    from: "return before.kind === 'good' ? before : GOOD",
    to: "return before.kind === 'doubted' ? GOOD : before",
  },
]

const value = (name) => {
  const at = process.argv.indexOf(name)
  return at < 0 ? undefined : process.argv[at + 1]
}

mkdirSync(OUT, { recursive: true })
process.once('exit', () => rmSync(OUT, { recursive: true, force: true }))
if (process.argv.includes('--mutations')) await mutate()
else {
  const program = await bundle('model', [])
  const options = {
    lives: Number(value('--lives') ?? 10_000),
    seed: Number(value('--seed') ?? Date.now() % 1_000_000_000),
    path: value('--path'),
  }
  const { code, text } = await run(program, options)
  print(text)
  process.exitCode = code
}

async function mutate() {
  const lives = Number(value('--lives') ?? 1000)
  const seed = Number(value('--seed') ?? 1)
  // A life that fails without a mutation says nothing about one.
  const sound = await run(await bundle('model', []), { lives, seed, isQuick: true })
  if (sound.code !== 0) {
    print(`fails without any mutation:\n${sound.text}`)
    process.exitCode = 1
    return
  }
  let missed = 0
  for (const [at, mutation] of MUTATIONS.entries()) {
    const { bug, file, from, to, alsoIn, alsoFrom, alsoTo } = mutation
    const edits = [{ file, from, to }]
    if (alsoIn !== undefined) edits.push({ file: alsoIn, from: alsoFrom, to: alsoTo })
    const program = await bundle(`mutation-${at}`, edits)
    const { code, text } = await run(program, { lives, seed, isQuick: true })
    if (code === 0) missed += 1
    const after = /failed after (\d+) tests/.exec(text)?.[1]
    print(code === 0 ? `MISSED   ${bug}` : `found    ${bug} (life ${after})`)
  }
  print(`${MUTATIONS.length - missed} of ${MUTATIONS.length} found`)
  process.exitCode = missed === 0 ? 0 : 1
}

/** Each text is replaced where it stands once; if it does not, the list is out of date. */
async function bundle(name, edits) {
  const outfile = join(OUT, `${name}.mjs`)
  const mutator = {
    name: 'mutator',
    setup(building) {
      building.onLoad({ filter: /\/src\/.*\.ts$/ }, ({ path }) => {
        const own = edits.filter(({ file }) => path === join(ROOT, file))
        if (own.length === 0) return undefined
        let contents = readFileSync(path, 'utf8')
        for (const { file, from, to } of own) {
          if (contents.split(from).length !== 2) throw new Error(`not once in ${file}: ${from}`)
          contents = contents.replace(from, () => to)
        }
        return { contents, loader: 'ts' }
      })
    },
  }
  await build({
    stdin: {
      contents: `import { runLives } from './test/daemon/fixtures/model-lives.js'
        runLives(JSON.parse(process.argv[2])).then(
          ({ kills, done }) => console.log(kills + ' kills; done: ' + [...done].map((one) => one.join(' ')).join(', ')),
          (error) => { console.log(error.message); process.exitCode = 1 },
        )`,
      resolveDir: ROOT,
      loader: 'ts',
    },
    outfile,
    bundle: true,
    platform: 'node',
    format: 'esm',
    packages: 'external',
    plugins: [mutator],
    logLevel: 'error',
  })
  return outfile
}

async function run(program, options) {
  const child = spawn(process.execPath, [program, JSON.stringify(options)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  let text = ''
  child.stdout.setEncoding('utf8').on('data', (chunk) => {
    text += chunk
  })
  const code = await new Promise((resolve) => child.once('close', (end) => resolve(end ?? 1)))
  return { code, text: `${JSON.stringify(options)}\n${text}` }
}

function print(text) {
  process.stdout.write(`${text}\n`)
}
