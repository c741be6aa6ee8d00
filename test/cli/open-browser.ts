/** Whether a browser is opened, and the advice if it is not. */
import t from 'tap'
import { planBrowser } from '../../src/cli/open-browser.js'

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
    [{ env: { SSH_CONNECTION: 'x' } }, /over SSH.*Paste a key.*ssh -L 41231:localhost:41231/],
    [{ env: { SSH_TTY: '/dev/pts/1' }, platform: 'darwin' }, /over SSH/],
    [{ env: { SSH_TTY: '/dev/pts/1' }, url: 'nonsense' }, /Paste a key$/],
  ] as const

  for (const [changes, advice] of table) {
    t.match(planBrowser({ ...desk, ...changes }), { isToBeOpened: false, advice })
  }
})
