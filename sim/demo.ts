/** `npm run demo`: a one-minute tour with the real programs, a temporary home and the simulator. */
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { startCloudSimulator } from './simulator.js'

const dist = realpathSync('dist')
const home = mkdtempSync(join(tmpdir(), 'pab-demo-'))
const sim = await startCloudSimulator({
  accounts: [{ handle: 'prefect', workspaces: ['terry', 'production'] }],
})

const env = {
  PATH: `${join(home, 'bin')}:${process.env.PATH ?? ''}`,
  HOME: home,
  PREFECT_CLOUD_API_URL: sim.apiUrl,
  PREFECT_CLOUD_UI_URL: sim.uiUrl,
  PREFECT_AUTH_PORT: '0',
}

const say = (text: string) => process.stdout.write(`${text}\n`)
const title = (text: string) => say(`\n\x1b[1m── ${text}\x1b[0m`)

interface Result {
  readonly code: number
  readonly output: string
}

/** Runs a command line in the demo's home and prints it with its output. */
function type(line: string, { isShown = true } = {}): Promise<Result> {
  if (isShown) say(`$ ${line}`)
  return new Promise((resolve) => {
    execFile('bash', ['-c', `exec 2>&1\n${line}`], { env, timeout: 60_000 }, (error, stdout) => {
      const code = typeof error?.code === 'number' ? error.code : error ? 1 : 0
      if (isShown && stdout !== '') say(mask(stdout.trimEnd()))
      resolve({ code, output: stdout })
    })
  })
}

/** Shows that there is a key, but not the key. */
function mask(text: string): string {
  return text.replace(/(pn[ub]_|pab_)[A-Za-z0-9_-]{8,}/g, (key) => `${key.slice(0, 8)}…`)
}

function installPrograms(): void {
  mkdirSync(join(home, 'bin'), { mode: 0o700 })
  for (const [name, file] of [
    ['prefect-auth', 'auth.cjs'],
    ['prefect-authd', 'authd.js'],
  ] as const) {
    writeFileSync(
      join(home, 'bin', name),
      `#!/bin/sh\nexec '${process.execPath}' '${join(dist, file)}' "$@"\n`,
      {
        mode: 0o755,
      },
    )
  }
}

async function startDaemon(): Promise<ChildProcess> {
  say('$ prefect-authd --vault-backend=file &')
  const daemon = spawn(join(home, 'bin', 'prefect-authd'), ['--vault-backend=file', '--log-level=error'], {
    env,
    stdio: ['ignore', 'inherit', 'inherit'],
  })
  for (let tries = 0; tries < 100; tries += 1) {
    await pause(100)
    if ((await type('prefect-auth status --socket', { isShown: false })).code === 0) return daemon
  }
  throw new Error('the daemon did not start')
}

/** The CLI waits for the browser; the demo is the browser. */
async function logIn(): Promise<void> {
  const line = 'prefect-auth login --no-browser --owner terry@example.com --workspace prefect/terry'
  say(`$ ${line}`)
  const login = spawn('bash', ['-c', `${line} 2>&1`], { env, stdio: ['ignore', 'pipe', 'inherit'] })
  let heard = ''
  let isDelivered = false
  login.stdout.setEncoding('utf8').on('data', (text: string) => {
    heard += text
    process.stdout.write(mask(text))
    const url = /^\S*\/auth\/client\?\S+$/m.exec(heard)?.[0]
    if (url === undefined || isDelivered) return
    isDelivered = true
    say('   (the demo clicks "Authorize" on that page)')
    sim.deliver(url, { mode: 'get' }).catch((error: unknown) => say(String(error)))
  })
  await new Promise((resolve) => login.on('close', resolve))
}

/** What a token may do, and what waits for a yes. */
async function showLimits(): Promise<void> {
  title('6. A token that only reads')
  const call = 'curl -qsS -H "Authorization: Bearer $PREFECT_API_KEY" -H "Content-Type: application/json"'
  const read = `${call} -d "{}" "$PREFECT_API_URL/flows/filter"`
  const write = `${call} -d "{\\"name\\":\\"target\\"}" "$PREFECT_API_URL/variables/"`
  await type(`prefect-auth exec --proxy --may read -- sh -c '${read}; echo; ${write}; echo'`)

  title('7. A write that waits for an answer; what started it cannot give the yes')
  const job = `until ${write} | grep -v ask_waiting; do sleep 1; done`
  const question = '$(prefect-auth asks --names)'
  await type(
    `prefect-auth exec --proxy --ask write -- sh -c '${job}' & until prefect-auth asks --names | grep -q .; do sleep 1; done; prefect-auth asks; prefect-auth asks yes ${question}; prefect-auth asks no ${question}; wait`,
  )
}

async function tour(): Promise<void> {
  installPrograms()
  title('1. The daemon starts: no root, no keychain, no Prefect account')
  const daemon = await startDaemon()
  try {
    title('2. Log in once, with the browser')
    await logIn()
    await type('prefect-auth')

    title('3. Every local process has the current credentials')
    await type(`prefect-auth exec -- sh -c 'echo "$PREFECT_API_URL"; echo "$PREFECT_API_KEY"'`)
    await type('S="$(prefect-auth status --socket)"; curl -qfsS --unix-socket "$S" http://authd/v1/env')

    title('4. Another program changes the profile; the daemon follows within a second')
    await type(
      `printf '\\n[profiles.local]\\nPREFECT_API_URL = "http://127.0.0.1:4200/api"\\n' >> ~/.prefect/profiles.toml`,
    )
    await type(`sed -i 's/^active = .*/active = "local"/' ~/.prefect/profiles.toml; sleep 1`)
    await type('prefect-auth env')
    await type('prefect-auth profile use cloud')
    await type('prefect-auth workspace set prefect/production')

    title('5. A job that never holds the key: the key is renewed under it, and it goes on')
    const call = `curl -qsS -o /dev/null -w "asked Prefect: %{http_code}\\n" -H "Authorization: Bearer $PREFECT_API_KEY"`
    const job = `echo "I hold $PREFECT_API_KEY"; for i in 1 2 3 4 5 6; do ${call} "$PREFECT_CLOUD_API_URL/me/"; sleep 0.5; done`
    await type(`prefect-auth exec --proxy -- sh -c '${job}' & sleep 1; prefect-auth renew --now; wait`)

    await showLimits()

    title('8. What a thief sees')
    await type('cat ~/.prefect/profiles.toml')
    const { output } = await type('prefect-auth status --url', { isShown: false })
    const url = output.trim()
    await type(`curl -qsS ${url}/v1/credentials; echo`)
    await type(`curl -qsS -H "Origin: https://evil.example" ${url}/v1/credentials; echo`)
    await type(`curl -qsS -H "Host: evil.example" ${url}/v1/credentials; echo`)
    const keys = (
      await type('prefect-auth exec -- printenv PREFECT_API_KEY', { isShown: false })
    ).output.trim()
    const found = (await type(`grep -rlF -- '${keys}' ~ | wc -l`, { isShown: false })).output.trim()
    say(`files in this home that contain the key in plain text: ${found}`)
    say(`the audit log has every access:`)
    await type('prefect-auth audit | tail -n 5')

    title('9. Started at every login (this only shows which files it would write)')
    await type(`prefect-auth service install --print | grep '^# /'`)

    title('Done. Yours: npm start, then prefect-auth login')
  } finally {
    daemon.kill('SIGTERM')
    await new Promise((resolve) =>
      daemon.exitCode === null ? daemon.on('exit', resolve) : resolve(undefined),
    )
  }
}

try {
  await tour()
} finally {
  await sim.close()
  rmSync(home, { recursive: true, force: true })
}
