/** Whether a browser is opened, and the advice if it is not. */
import { chmodSync, existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { browserCommands, openBrowser, planBrowser } from '../../../src/cli/login/browser.js'
import { until } from '../../fixtures/shipped.js'

const url = 'https://app.prefect.cloud/auth/client?callback=http%3A//localhost%3A41231&g=true'
const desk = { env: { DISPLAY: ':0' }, platform: 'linux', isInteractive: true, isUnwanted: false, url }

t.test('opens the browser at a desktop', async (t) => {
  t.match(planBrowser(desk), { isToBeOpened: true })
  t.match(planBrowser({ ...desk, env: { WAYLAND_DISPLAY: 'wayland-0' } }), { isToBeOpened: true })
  t.match(planBrowser({ ...desk, env: {}, platform: 'darwin' }), { isToBeOpened: true })
  t.match(planBrowser({ ...desk, env: { SSH_CONNECTION: 'x', DISPLAY: ':10' } }), { isToBeOpened: true })
})

t.test('opens none elsewhere, and gives advice that fits', async (t) => {
  const table = [
    [{ isUnwanted: true }, /browser on this machine/],
    [{ isInteractive: false }, /no terminal/],
    [{ env: {} }, /no display/],
    [
      { env: { SSH_CONNECTION: 'x' } },
      /over SSH.*Paste that address, or a key.*login --on HOST.*ssh -L 41231:localhost:41231/s,
    ],
    [{ env: { SSH_TTY: '/dev/pts/1' }, platform: 'darwin' }, /over SSH/],
    [{ env: { SSH_TTY: '/dev/pts/1' }, url: 'nonsense' }, /Paste that address, or a key$/],
  ] as const

  for (const [changes, advice] of table) {
    t.match(planBrowser({ ...desk, ...changes }), { isToBeOpened: false, advice })
  }
})

t.test('uses the program that an editor names, also without a display or over SSH', async (t) => {
  const inContainer = { BROWSER: '/vscode/helper.sh', REMOTE_CONTAINERS: 'true' }
  t.match(planBrowser({ ...desk, env: inContainer }), { isToBeOpened: true })
  t.match(planBrowser({ ...desk, env: { ...inContainer, SSH_TTY: '/dev/pts/0' } }), { isToBeOpened: true })
  t.match(planBrowser({ ...desk, env: { BROWSER: 'firefox', SSH_TTY: '/dev/pts/0' } }), {
    isToBeOpened: false,
  })
  t.match(planBrowser({ ...desk, env: { BROWSER: 'w3m %s:lynx' } }), { isToBeOpened: false })
  t.match(planBrowser({ ...desk, env: { BROWSER: 'w3m %s:firefox' } }), { isToBeOpened: true })
  t.match(planBrowser({ ...desk, env: { WSL_DISTRO_NAME: 'Debian' } }), { isToBeOpened: true })
  t.match(planBrowser({ ...desk, isForwarded: true }), { isToBeOpened: false, advice: /connect from/ })
  const dir = t.testdir({ helper: '#!/bin/sh\necho "$#:$1" >"$0.said"\n' })
  chmodSync(join(dir, 'helper'), 0o755)
  const url = 'https://h/auth?callback=http%3A//localhost%3A1&g=$(touch x)'
  t.equal(await openBrowser(url, { BROWSER: join(dir, 'helper') }), true)
  await until(
    () => existsSync(join(dir, 'helper.said')) && readFileSync(join(dir, 'helper.said'), 'utf8') !== '',
    () => 'not run',
  )
  t.equal(readFileSync(join(dir, 'helper.said'), 'utf8'), `1:${url}\n`)
  t.equal(await openBrowser(url, { BROWSER: join(dir, 'missing') }), false)
  t.equal(await openBrowser('file:///etc/passwd', { BROWSER: join(dir, 'helper') }), false)
})

t.test('reads BROWSER as Python does, and no shell ever sees the URL', async (t) => {
  const table: readonly (readonly [string, readonly unknown[]])[] = [
    ['', []],
    ['firefox', [{ words: ['firefox'], isBackground: false }]],
    [':firefox::chromium --new-window:', [{ words: ['firefox'] }, { words: ['chromium', '--new-window'] }]],
    ['chromium %s &', [{ words: ['chromium', '%s'], isBackground: true }]],
    ['open-at-desk&', [{ words: ['open-at-desk'], isBackground: true }]],
    [`say "a 'b' %s" 'c "d"' e\\ f`, [{ words: ['say', "a 'b' %s", 'c "d"', 'e f'] }]],
    ["broken 'quote:firefox", [{ words: ['firefox'] }]],
    ['lynx:/usr/bin/w3m %s', []],
  ]
  for (const [BROWSER, commands] of table) {
    const read = browserCommands({ BROWSER }, 'linux')
    t.equal(read.length, commands.length, BROWSER)
    t.match(read, commands, BROWSER)
  }
  t.match(browserCommands({ BROWSER: 'C:\\\\x.exe;firefox' }, 'win32'), [{}, { words: ['firefox'] }])
})

t.test('takes the first of the list that opens the page', async (t) => {
  const dir = t.testdir({
    'my browser': '#!/bin/sh\nprintf "%s|" "$@" >"$0.said"\n',
    fails: '#!/bin/sh\nexit 3\n',
    wslview: '#!/bin/sh\nprintf "%s|" "$@" >"$0.said"\n',
  })
  for (const name of ['my browser', 'fails', 'wslview']) chmodSync(join(dir, name), 0o755)
  const said = (name: string) => readFileSync(join(dir, `${name}.said`), 'utf8')
  const mine = join(dir, 'my browser')
  t.equal(await openBrowser(url, { BROWSER: `${dir}/missing:${dir}/fails:${mine}` }), true)
  t.equal(said('my browser'), `${url}|`)
  t.equal(await openBrowser(url, { BROWSER: `${dir}/fails:'${mine}' --page=%s %s` }), true)
  t.equal(said('my browser'), `--page=${url}|${url}|`)
  t.equal(await openBrowser(url, { BROWSER: `${dir}/fails` }), false)
  const { PATH = '' } = process.env
  process.env.PATH = `${dir}:${PATH}`
  t.teardown(() => {
    process.env.PATH = PATH
  })
  t.equal(await openBrowser(url, { WSL_DISTRO_NAME: 'Debian' }), true)
  t.equal(said('wslview'), `${url}|`)
})
