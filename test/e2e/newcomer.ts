/**
 * What a newcomer types, from the wheel to `setup --remove`, in the interactive shells of a bare user account without Node, on a real
 * `systemd --user`; Prefect Cloud is the simulator with a real Prefect server behind it. `PAB_TRANSCRIPT=FILE` writes what is typed and seen.
 */
import { execFileSync } from 'node:child_process'
import { chmodSync, cpSync, mkdirSync, mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import t, { type Test } from 'tap'
import { findPrefect, type PrefectClient, prefectEnv, QUIET } from '../fixtures/real-prefect.js'
import { installSimulator, remove, runSession, whyNoManager } from '../fixtures/user-session.js'
import { cornerWithoutNode, findWheels, whyNoWheels } from '../fixtures/wheels.js'

t.setTimeout(900_000)
const skip = whyNoWheels() ?? whyNoManager() ?? false

const FLOW = `import os
from prefect import flow
from prefect.settings import get_current_settings

@flow
def hello():
    return "hello"

key = get_current_settings().api.key
print(os.environ.get("PREFECT_AUTH_PLUGIN_DID"), key.get_secret_value()[:4])
hello()
`
const CLOUD = 'http://127.0.0.1:4999'
const SERVER = 'http://127.0.0.1:4200/api'
/** Stands before every prompt; the exit code of the command before follows it. */
const MARK = '@@prompt '

const INSTALL = ['command -v node', 'uv tool install ~/Downloads/prefect_auth_broker-*.whl'] as const
const FIRST_DAY = [
  `export PREFECT_CLOUD_API_URL=${CLOUD}/api PREFECT_CLOUD_UI_URL=${CLOUD}`,
  'cd ~/flows',
  'source .venv/bin/activate',
  'prefect-auth setup --yes',
  'prefect-auth login --key-stdin < ~/key.txt',
  'prefect-auth',
  'prefect-auth exec -- .venv/bin/python flow.py',
] as const
// biome-ignore lint/suspicious/noTemplateCurlyInString: for bash
const HOOKED = 'echo "$PREFECT_AUTH_WORKSPACE ${PREFECT_API_KEY:0:4}"'
/** As cron starts it: nothing of the shell, so the plugin alone gives the credentials. */
const CRON = 'env -i HOME="$HOME" .venv/bin/python flow.py'
const AFTER_THE_REBOOT = [
  HOOKED,
  'cd ~/flows',
  '.venv/bin/python flow.py',
  CRON,
  'before=$PREFECT_API_KEY',
  'prefect-auth renew --now',
  '[ "$PREFECT_API_KEY" != "$before" ] && [ "$PREFECT_API_KEY" = "$(prefect-auth get key)" ]',
  '.venv/bin/python flow.py',
  'prefect-auth status --check',
  'prefect-auth setup --remove --yes',
] as const

/** Everything of the home but the state, Prefect's own folder, and what Python, uv, bash and the desktop's keyring keep for themselves. */
const PICTURE = `picture() { (cd; find . \\( -path ./.local/state -o -path ./.prefect -o -path ./.cache -o -path ./.local/share/keyrings -o -name __pycache__ -o -name .bash_history \\) \\
  -prune -o -type f -exec sha256sum {} + -o -printf '%y %m %p %l\\n' | sort); }
variables() { bash -ic 'unset _ SHLVL; export -p; alias; trap; declare -f; echo "$PROMPT_COMMAND"' 2>/dev/null </dev/null; }
`
/** The manager and all that it started end, what is in memory is lost, and another manager starts. */
const REBOOT = `reboot() {
  systemctl --user exit; while pgrep -x -u "$UID" systemd >/dev/null; do sleep 0.1; done
  find "$XDG_RUNTIME_DIR" -mindepth 1 -delete 2>/dev/null
  /lib/systemd/systemd --user --log-target=console >"$XDG_RUNTIME_DIR/manager.log" 2>&1 &
  until [ -e "$XDG_RUNTIME_DIR/prefect-auth/generation" ]; do sleep 0.1; done
}
`

t.test('from the wheel, over a reboot and a renewal, to setup --remove', { skip }, async (t) => {
  const prefect = findPrefect('3', t)
  if (prefect === undefined) return
  const place = await makePlace(t, prefect)
  const { stdout, stderr } = await runSession(
    place.home,
    `${PICTURE}${REBOOT}${place.begin}
     ${typeInto('install', INSTALL)}
     variables >$W/shell-before; picture >$W/before
     ${typeInto('first', FIRST_DAY)}
     reboot
     ${typeInto('next', AFTER_THE_REBOOT)}
     say end; picture | diff $W/before - && say home same; variables | diff $W/shell-before - && say shell same
     curl -qfsS -X POST -H 'Content-Type: application/json' -d '{}' ${SERVER}/flow_runs/filter | grep -o '"state_type":"[A-Z]*"'`,
    { PATH: place.path, BEFORE: place.before },
    300_000,
  )
  const [days = '', end = ''] = stdout.split('end: \n')
  const seen = readShells(days)
  const transcript = seen.map(
    ({ typed, said, code }) => `$ ${typed}\n${said}${code === 0 ? '' : `[${code}]\n`}`,
  )
  if (process.env.PAB_TRANSCRIPT !== undefined) writeFileSync(process.env.PAB_TRANSCRIPT, transcript.join(''))
  const whole = `${stdout}${stderr}`
  const after = (typed: string, nth = 0) => seen.filter((step) => step.typed === typed)[nth]

  t.same(
    seen.map(({ typed, code }) => `${code} ${typed}`),
    [...INSTALL, ...FIRST_DAY, ...AFTER_THE_REBOOT].map(
      (typed) => `${typed === 'command -v node' ? 1 : 0} ${typed}`,
    ),
    whole,
  )
  t.equal(
    after(HOOKED)?.said,
    'prefect/terry pnu_\n',
    'a new shell has the pair, without the variables of the first',
  )
  for (const step of seen.filter(({ typed }) => /flow\.py$/.test(typed))) {
    t.match(step.said, /Finished in state Completed/, step.typed)
    t.notMatch(step.said, /prefect-auth:/, 'nothing to complain about')
  }
  t.match(after(CRON)?.said, 'proxy pab_\n', 'the plugin gives a token')
  t.match(end, /^home: same\nshell: same\n/m, whole)
  t.same(end.match(/"state_type":"[A-Z]*"/g), Array(4).fill('"state_type":"COMPLETED"'))
  t.notMatch(whole, /p(nu|nb|ab)_\w{8}/, 'no key on the screen')
})

interface Step {
  readonly typed: string
  /** What the command, and the hook before the next prompt, printed. */
  readonly said: string
  readonly code: number
}

/** Runs an interactive shell of the account to its end. */
function typeInto(name: string, lines: readonly string[]): string {
  return `say shell ${name}; cat >$W/typed <<'END'\n${lines.join('\n')}\nEND\nbash --noediting -i <$W/typed 2>&1`
}

/** What the shells printed, beside what was typed into them. */
function readShells(printed: string): readonly Step[] {
  const shells = printed.split(/^shell: \w+\n/m).slice(1)
  return [INSTALL, FIRST_DAY, AFTER_THE_REBOOT].flatMap((lines, at) => {
    const prompts = shells[at]?.split(MARK).slice(1) ?? []
    return lines.map((typed, nth) => ({
      typed,
      said: prompts[nth]?.replace(/^\d+\n/, '') ?? '',
      code: Number.parseInt(prompts[nth + 1] ?? '', 10),
    }))
  })
}

/** The account's home, and beside it the world: the wheels, a Python and its Prefect, Prefect Cloud. */
async function makePlace(t: Test, prefect: PrefectClient) {
  const wheels = findWheels(t)
  const dir = mkdtempSync(join(tmpdir(), 'pab-newcomer-'))
  t.teardown(() => remove(dir))
  const [home, world] = [join(dir, 'home'), join(dir, 'world')]
  for (const path of ['home/.local/bin', 'home/flows', 'home/Downloads', 'world/prefect', 'world/python'])
    mkdirSync(join(dir, path), { recursive: true })
  for (const path of [dir, home]) chmodSync(path, 0o755)
  chmodSync(world, 0o777)
  cpSync(wheels.tool('uv'), join(home, '.local/bin/uv'))
  cpSync(wheels.broker, join(home, 'Downloads', basename(wheels.broker)))
  cpSync(wheels.index, join(world, 'index'), { recursive: true })
  cpSync(process.execPath, join(world, 'node'))
  await installSimulator(world)
  writeFileSync(join(home, 'flows/flow.py'), FLOW)
  writeFileSync(join(home, '.bashrc'), `alias ll='ls -l'\nPS1='${MARK}$?\\n'\n`)
  const base = execFileSync(prefect.python, ['-c', 'import sys; print(sys.base_prefix, end="")'], {
    encoding: 'utf8',
  })
  const serve = Object.entries({
    ...prefectEnv(join(world, 'server')),
    ...QUIET,
    PREFECT_SERVER_UI_ENABLED: 'false',
  })
    .map(([name, value]) => `${name}='${value}'`)
    .join(' ')
  return {
    home,
    path: cornerWithoutNode(t),
    // What is in another's home is closed to the account. A Python of root's keeps its path, by which it finds its library.
    before: [
      `mount --bind ${join(prefect.bin, '../..')} ${world}/prefect`,
      ...(base.startsWith('/root/')
        ? [
            `mount --bind ${base} ${world}/python; mount -t tmpfs -o mode=755 tmpfs /root`,
            `mkdir -p ${base}; mount --bind ${world}/python ${base}; umount ${world}/python`,
          ]
        : []),
    ].join('; '),
    begin: `W=${world}; export PATH=~/.local/bin:$PATH SHELL=/bin/bash
     export UV_OFFLINE=1 UV_NO_INDEX=1 UV_FIND_LINKS=$W/index UV_PYTHON=${base}/bin/python3
     packages=$(echo $W/prefect/lib/python3*/site-packages); mkdir $W/server
     env ${serve} PYTHONPATH=$packages $UV_PYTHON -m prefect server start --host 127.0.0.1 --port 4200 >$W/server.txt 2>&1 & server=$!
     $W/node $W/sim.mjs --port 4999 --backend ${SERVER} >$W/sim.txt 2>&1 &
     uv venv -q ~/flows/.venv; own=$(echo ~/flows/.venv/lib/python3*/site-packages)
     echo $packages >$own/prefect.pth; ln -s $packages/prefect-*.dist-info $own
     until grep -qs pnu_ $W/sim.txt && curl -qfs ${SERVER}/health >/dev/null; do kill -0 $server || { cat $W/server.txt >&2; exit 9; }; sleep 0.2; done
     grep -o 'pnu_[A-Za-z0-9]*' $W/sim.txt >~/key.txt`,
  }
}
