/** The sh front end in every sh: what it does itself, what it leaves to Node, and what it must never do. */
import { exec, execFileSync } from 'node:child_process'
import { existsSync, renameSync, symlinkSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { renderShell } from '../../src/http/shell.js'
import { problem, startScriptedDaemon } from '../fixtures/scripted-daemon.js'
import { makeFront, SHELLS } from './fixtures/shell-front.js'

t.setTimeout(300_000)
const front = makeFront(t)
const evil = join(front.dir, 'evil')
const NASTY = `a'b"c\\d $(touch ${evil}) \`touch ${evil}\`\n; touch ${evil} #é\t!`
const served = { PREFECT_API_URL: 'http://h/api', PREFECT_API_KEY: NASTY }
const text = renderShell('sh', served)
const daemon = await startScriptedDaemon(t, {
  'GET /v1/env': ({ query }) => {
    if (query.profile === 'gone') return problem('profile_not_found', 'not_found', 404, 'no such profile')
    if (query.profile === 'noted') return { text: `${text}# a note\n` }
    if (query.profile === 'cut')
      return {
        handle: (response) => {
          response.writeHead(200, { 'content-length': '999' })
          response.write('export PREFECT_API_URL=', () => response.destroy())
        },
      }
    return { text: query.format === 'sh' ? text : `${query.format}\n` }
  },
})
const env = { PREFECT_AUTH_SOCKET: daemon.socket }
// biome-ignore lint/suspicious/noTemplateCurlyInString: the shell's own
const SHOW = 'printf "%s|%s|%s" "$PREFECT_API_URL" "$PREFECT_API_KEY" "${PREFECT_CLOUD_API_URL-unset}"'

const skip = process.platform === 'linux' ? false : 'looks into /proc'

for (const shell of SHELLS) {
  t.test(`${shell}: env prints the daemon's text byte for byte`, async (t) => {
    t.match(await front.run(['env'], { shell, env }), { code: 0, stdout: text, stderr: '' })
    t.match(await front.run(['env', '--format=fish', '-p', 'a-b.c'], { shell, env }), {
      code: 0,
      stdout: 'fish\n',
    })
    t.match(await front.run(['env', '--json'], { shell, env }), { code: 0, stdout: 'json\n' })
    const last = daemon.asked.at(-2)
    t.match(last, {
      query: { profile: 'a-b.c', format: 'fish' },
      headers: { 'user-agent': 'prefect-auth/9.9.9 env' },
    })
    const proxied = { ...env, PREFECT_API_KEY: 'pab_x' }
    t.match(await front.run(['env'], { shell, env: proxied }), { stdout: 'NODE ["env"]\n' })
  })

  t.test(`${shell}: exec passes every value unchanged, and runs nothing inside one`, async (t) => {
    const run = await front.run(['exec', '--', 'sh', '-c', SHOW], {
      shell,
      env: { ...env, PREFECT_CLOUD_API_URL: '' },
    })
    t.match(run, { code: 0, stdout: `http://h/api|${NASTY}|unset`, stderr: '' })
    t.equal(existsSync(evil), false)
  })

  t.test(
    `${shell}: exec is replaced by the program, with its stdin, arguments and exit code`,
    { skip },
    async (t) => {
      const script = 'read -r a; echo "$a:$#:$2"; ps -o comm= --ppid $$ | grep -c defunct; exit 42'
      const run = await front.run(['exec', 'sh', '-c', script, 'x', '', "q'$HOME"], {
        shell,
        env,
        input: 'typed\n',
      })
      t.match(run, { code: 42, stdout: "typed:2:q'$HOME\n0\n" })
      const { stdout } = await front.run(['exec', '--', 'sh', '-c', 'tr "\\0" " " </proc/$PPID/cmdline'], {
        shell,
        env,
      })
      t.match(stdout, process.argv[0]?.split('/').at(-1) ?? '', 'its parent is our caller')
      t.match(await front.run(['exec', '--', 'sh', '-c', 'kill -TERM $$'], { shell, env }), {
        signal: 'SIGTERM',
      })
    },
  )

  t.test(`${shell}: exec keeps variables whose names no shell can use`, async (t) => {
    const odd = { ...env, 'FOO.BAR': '1', 'BASH_FUNC_module%%': '() { echo loaded; }' }
    const { stdout } = await front.run(['exec', '--', 'env'], { shell, env: odd })
    // Node keeps them, and so do some shells.
    t.ok(
      stdout.startsWith('NODE ') ||
        (stdout.includes('FOO.BAR=1\n') && stdout.includes('BASH_FUNC_module%%=')),
      stdout,
    )
  })

  t.test(`${shell}: exec passes no variable of ours, and changes none of the caller's`, async (t) => {
    const before = { ...env, SHELLOPTS: 'allexport:xtrace', __pab_body: 'mine', X: 'y' }
    const { stdout, stderr } = await front.run(['exec', '--', 'env'], { shell, env: before })
    t.notMatch(stdout, /__pab_(?!body=)/)
    t.match(stdout, /^X=y$/m)
    t.notMatch(stderr, /PREFECT_API_KEY/)
  })

  for (const [what, args, more] of [
    ['another command', ['status'], {}],
    ['no command at all', [], {}],
    ['an unknown option', ['env', '--nope'], {}],
    ['help', ['env', '--help'], {}],
    ['the proxy', ['env', '--proxy'], {}],
    ['the proxy for a job', ['exec', '--proxy', '--', 'true'], {}],
    ['a policy', ['env', '--may', 'read'], {}],
    ['a policy for a job', ['exec', '--may=read', '--', 'true'], {}],
    ['questions for a job', ['exec', '-p', 'cloud', '--ask', 'write', 'true'], {}],
    ['an unexpected argument', ['env', 'x'], {}],
    ['an unknown format', ['env', '--format', 'csh'], {}],
    ['a profile without a name', ['env', '--profile', ''], {}],
    ['a profile that needs encoding', ['exec', '-p', 'a&b', 'true'], {}],
    ['a profile that is a key', ['env', '-p', 'pnu_123'], {}],
    ['an unknown profile', ['env', '-p', 'gone'], {}],
    ['a truncated response', ['env', '-p', 'cut'], {}],
    ['no program', ['exec', '--'], {}],
    ['a missing program', ['exec', 'no-such-program'], {}],
    ['a program that is a directory', ['exec', '/'], {}],
    ['a program that begins with a dash', ['exec', '--', '-x'], {}],
    ['a key in place of a program', ['exec', 'pnu_123'], {}],
    ['a caller with another URL', ['exec', 'true'], { PREFECT_API_URL: 'http://other' }],
    ['a caller with an empty key', ['exec', 'true'], { PREFECT_API_KEY: '' }],
    ['the old name of the Cloud URL', ['exec', 'true'], { PREFECT_CLOUD_URL: 'http://other' }],
    ['custom headers', ['exec', 'true'], { PREFECT_CLIENT_CUSTOM_HEADERS: '{}' }],
    ['unverified TLS', ['exec', 'true'], { PREFECT_API_TLS_INSECURE_SKIP_VERIFY: '1' }],
    ['a CA', ['exec', 'true'], { PREFECT_API_SSL_CERT_FILE: '/ca' }],
    ['another home', ['env'], { PREFECT_HOME: '/elsewhere' }],
    ['another profile file', ['env'], { PREFECT_PROFILES_PATH: '/elsewhere' }],
    ['a group of settings', ['exec', 'true'], { PREFECT_API: '{}' }],
    ['a name in mixed letters', ['env'], { Prefect_Api_Key: 'x' }],
    ['an empty choice of a profile', ['exec', 'true'], { PREFECT_PROFILE: '' }],
    ['a name in small letters', ['exec', 'true'], { prefect_api_key: 'x' }],
    ['an empty one in small letters', ['exec', 'true'], { prefect_api_key: '' }],
    ['a home that needs encoding', ['env'], { HOME: '/home/a b', PREFECT_AUTH_SOCKET: daemon.socket }],
    ['a relative socket', ['env'], { PREFECT_AUTH_SOCKET: 'authd.sock' }],
    ['no socket', ['env'], { PREFECT_AUTH_SOCKET: '/nowhere/s' }],
    ['a path without curl', ['env'], { PATH: `${front.dir}/only-node` }],
  ] as const) {
    t.test(`${shell}: leaves ${what} to Node, with all arguments unchanged`, async (t) => {
      const run = await front.run(args, { shell, env: { ...env, ...more } })
      t.equal(run.stdout, `NODE ${JSON.stringify(args)}\n`)
    })
  }

  t.test(`${shell}: leaves a directory that names settings of Prefect to Node, and no other`, async (t) => {
    for (const [file, content, isPlain] of [
      ['prefect.toml', '', false],
      ['.env', 'export prefect_API_url=x\n', false],
      ['.env', 'OTHER=prefect\n', true],
      ['pyproject.toml', '[tool.prefect]\n', false],
      ['pyproject.toml', '[tool]\n"prefect".profiles_path = "x"\n', false],
      ['pyproject.toml', '[tool]\nprefect = { }\n', false],
      ['pyproject.toml', 'dependencies = ["prefect>=3", "prefect==3.9", "prefect[aws]~=3"]\n', true],
    ] as const) {
      const cwd = t.testdir({ [file]: content })
      for (const args of [['env'], ['exec', 'sh', '-c', 'echo ran']]) {
        const { stdout } = await front.run(args, { shell, env, cwd })
        t.equal(stdout.startsWith('NODE '), !isPlain, `${file} ${content} ${args[0]}`)
      }
    }
  })

  t.test(`${shell}: a profile with notes is for Node, which prints them`, async (t) => {
    t.match((await front.run(['exec', '-p', 'noted', 'true'], { shell, env })).stdout, /^NODE /)
    t.equal((await front.run(['env', '-p', 'noted'], { shell, env })).stdout, `${text}# a note\n`)
  })

  t.test(`${shell}: exec accepts equal values in the caller's environment`, async (t) => {
    const run = await front.run(['exec', 'sh', '-c', 'echo ran'], { shell, env: { ...env, ...served } })
    t.equal(run.stdout, 'ran\n')
  })
}

/** Responses of another version, or of no daemon: each would run something. */
const UNKNOWN = [
  `touch ${evil}\n`,
  `export PREFECT_API_URL='x'; touch ${evil};\n`,
  `export PREFECT_API_URL='x';touch ${evil}\n`,
  `export PREFECT_API_URL='x'$(touch ${evil});\n`,
  `export PREFECT_API_URL=$(touch ${evil});\n`,
  `export PREFECT_API_URL="$(touch ${evil})";\n`,
  `export PREFECT_API_URL='x\n`,
  `export PREFECT_API_URL='x'\\''; touch ${evil};\n`,
  `export PREFECT_API_URL='x'\\'y'; touch ${evil};'';\n`,
  `export PREFECT_API_URL='x'\\''$(touch ${evil})'';\n`,
  `export PREFECT_API_URL='a';\n\ntouch ${evil};\n`,
  `unset PREFECT_API_KEY; touch ${evil};\n`,
  `unset PREFECT_API_KEY $(touch ${evil});\n`,
  `unset PREFECT_API_KEY\ntouch ${evil};\n`,
  `unset -f PREFECT_API_KEY;\n`,
  `export -p;\n`,
  `export PATH='${front.dir}';\n`,
  `export LD_PRELOAD='${evil}';\n`,
  `unset PATH;\n`,
  `export PREFECT_='x';\n`,
  `export PREFECT_A[0]='x';\n`,
  ` export PREFECT_API_URL='x';\n`,
  `export PREFECT_API_URL='x';\r\n`,
  `export PREFECT_API_URL='x';`,
  '<html>portal</html>',
  `# prefect-auth 2\nexport PREFECT_API_URL='x';\n`,
]

for (const shell of SHELLS) {
  t.test(`${shell}: runs and prints no response of a shape that it does not know`, async (t) => {
    for (const [index, body] of UNKNOWN.entries()) {
      const other = await startScriptedDaemon(t, { 'GET /v1/env': { text: body } })
      const around = { PREFECT_AUTH_SOCKET: other.socket }
      for (const args of [['exec', 'true'], ['env']]) {
        const run = await front.run(args, { shell, env: around })
        t.match(
          run,
          { stdout: `NODE ${JSON.stringify(args)}\n`, stderr: /does not know the shape/ },
          `${index}: ${body}`,
        )
      }
      await other.close()
    }
    t.equal(existsSync(evil), false)
  })
}

execFileSync('mkdir', [join(front.dir, 'only-node')])
for (const tool of ['readlink', 'id']) symlinkSync(`/usr/bin/${tool}`, join(front.dir, 'only-node', tool))
symlinkSync(process.execPath, join(front.dir, 'only-node', 'node'))

t.test("ignores the caller's curlrc and proxies", async (t) => {
  writeFileSync(join(front.dir, 'sh', '.curlrc'), `output = "${evil}"\nuser-agent = "stolen"\n`)
  const proxies = { http_proxy: 'http://127.0.0.1:1', ALL_PROXY: 'socks5://127.0.0.1:1' }
  const run = await front.run(['env'], { env: { ...env, ...proxies } })
  t.match(run, { code: 0, stdout: text })
  t.equal(existsSync(evil), false)
})

t.test('uses no link to a socket, and no socket of another user', async (t) => {
  symlinkSync(daemon.socket, join(front.dir, 'link'))
  const linked = await front.run(['env'], { env: { PREFECT_AUTH_SOCKET: join(front.dir, 'link') } })
  t.match(linked.stdout, /^NODE /)
  if (process.getuid?.() !== 0) return
  const theirs = join(front.dir, 'theirs')
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(theirs, resolve))
  t.teardown(() => server.close())
  execFileSync('chown', ['nobody', theirs])
  t.match((await front.run(['env'], { env: { PREFECT_AUTH_SOCKET: theirs } })).stdout, /^NODE /)
})

const said = (place: string) => renderShell('sh', { PREFECT_API_URL: place })

t.test('looks in the runtime directory first, then in the state directory', { skip }, async (t) => {
  const home = join(front.dir, 'sh')
  execFileSync('mkdir', ['-p', join(home, 'run/prefect-auth'), join(home, '.local/state/prefect-auth/run')])
  const places = [
    join(home, 'run/prefect-auth/authd.sock'),
    join(home, '.local/state/prefect-auth/run/authd.sock'),
  ]
  for (const place of places) {
    const other = await startScriptedDaemon(t, { 'GET /v1/env': { text: said(place) } })
    renameSync(other.socket, place)
  }
  const around = { XDG_RUNTIME_DIR: join(home, 'run') }
  t.equal((await front.run(['env'], { env: around })).stdout, said(places[0] ?? ''))
  t.equal((await front.run(['env'])).stdout, said(places[1] ?? ''))
  t.match((await front.run(['env'], { env: { PREFECT_AUTH_STATE_DIR: 'relative' } })).stdout, /^NODE /)
})

t.test('fails if stdout is on a full disk', { skip: !existsSync('/dev/full') }, async (t) => {
  const { code } = await front.run(['exec', 'true'], { env })
  t.equal(code, 0)
  const line = promisify(exec)(`${front.program} env >/dev/full`, { env: { PATH: process.env.PATH, ...env } })
  await t.rejects(line, { code: 1 })
})

t.test('closes the scripted daemon', async () => daemon.close())
