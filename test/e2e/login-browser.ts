/** The login in a real Chromium: delivery, what is left behind, and attacks by other pages. */
import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Page } from 'playwright-core'
import t, { type Test } from 'tap'
import { startCloudSimulator } from '../../sim/simulator.js'
import { createEvents } from '../../src/base/events.js'
import { openLoginCallback } from '../../src/login/callback.js'
import type { LoginDelivery, LoginView } from '../../src/login/login.js'
import { NO_PORTS } from '../../src/login/ports.js'
import { createLoginSessions } from '../../src/login/sessions.js'
import { systemClock } from '../../src/std/clock.js'
import { silentLog } from '../../src/std/log.js'
import { createTestCloud } from '../fixtures/cloud-client.js'
import { OUTCOME } from '../fixtures/login-parts.js'
import { memoryDocument } from '../fixtures/memory-parts.js'
import { openNaiveCallback } from '../fixtures/naive-callback.js'
import { BROWSER_ATTACKS } from './fixtures/browser-attacks.js'
import { type Chromium, type ChromiumOptions, startChromium, whyNoChromium } from './fixtures/chromium.js'
import { EVIL_ORIGIN, openEvilSite } from './fixtures/evil-site.js'

const UI = 'https://app.prefect.cloud'
const JUNK = 'pnu_junk00000000000000000000000000000000'
/** How long to wait for something that must not arrive. */
const QUIET_MS = 500

const skip = whyNoChromium()

/** A simulated Prefect Cloud, the logins of a daemon, and a browser with a user signed in. */
async function start(
  t: Test,
  {
    autoApprove = true,
    ...browser
  }: { autoApprove?: boolean } & Pick<ChromiumOptions, 'hasLna' | 'rebound'> = {},
) {
  const sim = await startCloudSimulator({ tls: 'ui', publicUiUrl: UI, autoApprove })
  t.teardown(() => sim.close())
  const evil = await openEvilSite(t)
  const cloud = createTestCloud()
  t.teardown(() => cloud.close())
  const deliveries: LoginDelivery[] = []
  const clock = systemClock()
  const sessions = createLoginSessions({
    clock,
    cloud,
    events: createEvents({ clock, epoch: 'test' }),
    log: silentLog(),
    newId: randomUUID,
    newState: randomUUID,
    openCallback: openLoginCallback,
    ports: memoryDocument(NO_PORTS),
    policy: { timeoutMs: 120_000, confirmMs: 600_000, stateInPath: false },
    target: async (profile = 'cloud') => ({ profile, cloudApiUrl: sim.apiUrl, cloudUiUrl: sim.uiUrl }),
    keep: async (delivery) => {
      deliveries.push(delivery)
      return OUTCOME
    },
  })
  t.teardown(() => sessions.close())
  const chromium = await startChromium(t, {
    trust: [sim.caPath ?? '', evil.caPath],
    sites: { 'app.prefect.cloud': sim.uiPort, 'evil.example': evil.port },
    ...browser,
  })
  const { login } = await sessions.begin({})

  /** Waits until the login is in this state. */
  async function until(state: LoginView['state']): Promise<LoginView> {
    let view = sessions.get(login.id)
    while (view.state !== state) {
      const next = await sessions.waitForChange(login.id, view.version, 20_000, AbortSignal.timeout(20_000))
      if (next.version === view.version) throw new Error(`still ${next.state}, not ${state}`)
      view = next
    }
    return view
  }
  return { sim, sessions, login, url: login.url ?? '', port: portOf(login), chromium, deliveries, until }
}

function portOf({ url = '' }: LoginView): number {
  return Number(/localhost%3A(\d+)/.exec(url)?.[1])
}

/** The final message of the UI's page. */
async function outcomeOf(page: Page): Promise<string> {
  const outcome = page.locator('#outcome', { hasText: /could not|refused|You may close|Cancelled/ })
  return (await outcome.textContent()) ?? ''
}

t.test(
  'by GET the key is delivered without a prompt, and nothing of it stays in the browser',
  { skip },
  async (t) => {
    const { sessions, login, url, chromium, deliveries, until, sim } = await start(t)
    const page = await chromium.context.newPage()
    await page.goto(url)
    t.match(await until('verified'), { owner: { handle: 'terry' }, workspace: { workspaceHandle: 'terry' } })
    t.match(await outcomeOf(page), /You may close/)
    t.equal(page.url(), url, "the tab stays on Prefect's page")

    const issued = sim.requests.length
    const second = await chromium.context.newPage()
    await second.goto(url)
    await outcomeOf(second)
    t.ok(sim.requests.length > issued)
    while (sessions.get(login.id).refused === 0) await sleep(20)
    t.equal(second.url(), url, 'a late key does not navigate either')

    await sessions.confirm(login.id, { accept: true })
    await until('stored')
    await chromium.close()
    const key = deliveries[0]?.key.reveal() ?? ''
    t.match(key, /^pnu_/)
    t.strictSame(await chromium.filesWith(key), [])
    t.strictSame(await chromium.filesWith('?key=pnu_'), [], 'the late key included')
    t.not((await chromium.filesWith('auth/client')).length, 0, 'the search can find text')
  },
)

t.test('by POST without permission the page reports a failure, and nothing arrives', { skip }, async (t) => {
  const { sessions, login, url, chromium } = await start(t)
  const page = await chromium.context.newPage()
  await page.goto(url.replace('&g=true', ''))
  t.match(await outcomeOf(page), /could not be reached/)
  await sleep(QUIET_MS)
  t.match(sessions.get(login.id), { state: 'waiting', refused: 0 })
})

t.test(
  'by POST with permission the key is delivered, and the page may read the response',
  { skip },
  async (t) => {
    const { url, chromium, until } = await start(t)
    await chromium.context.grantPermissions(['local-network-access'], { origin: UI })
    const page = await chromium.context.newPage()
    await page.goto(url.replace('&g=true', ''))
    t.match(await outcomeOf(page), /You may close/)
    t.match(await until('verified'), { owner: { handle: 'terry' } })
  },
)

t.test('a failure that the page reports is shown, and the login goes on', { skip }, async (t) => {
  const { url, chromium, sessions, login } = await start(t, { autoApprove: false })
  await chromium.context.grantPermissions(['local-network-access'], { origin: UI })
  const page = await chromium.context.newPage()
  await page.goto(url)
  await page.locator('#cancel').click()
  t.equal(await outcomeOf(page), 'Cancelled.')
  // Another program on this machine can report one as well, so it ends nothing.
  let view = sessions.get(login.id)
  while (view.notice === undefined) {
    const next = await sessions.waitForChange(login.id, view.version, 60_000, AbortSignal.timeout(60_000))
    if (next.version === view.version) throw new Error('the failure is not shown')
    view = next
  }
  t.match(view, {
    state: 'waiting',
    notice: /reports a failed login \(.*Cancelled by the user.*still waiting/,
  })
})

for (const hasLna of [true, false]) {
  t.test(`other pages, Local Network Access checks ${hasLna ? 'on' : 'off'}`, { skip }, async (t) => {
    const { sessions, login, url, port, chromium, deliveries, until } = await start(t, { hasLna })
    const naive = await openNaiveCallback(t)

    for (const { name, isStoppedByLna, isClaim = false, script } of BROWSER_ATTACKS) {
      const before = sessions.get(login.id).refused
      await attack(chromium, script(port, JUNK))
      const mayReach = !(hasLna && isStoppedByLna)
      const patienceMs = mayReach ? 60_000 : QUIET_MS
      const isReached = await attackNaive(chromium, naive, script(naive.port, JUNK), patienceMs)
      t.equal(isReached, mayReach, `a listener without defences: ${name}`)
      if (isReached) while (sessions.get(login.id).refused === before) await sleep(20)
      const { state, notice } = sessions.get(login.id)
      t.equal(state, 'waiting', `${name} does not end the login`)
      if (isClaim) t.match(notice, /was rejected/, 'a junk claim costs a check')
    }
    t.strictSame(deliveries, [])

    // Requests that the browser blocked left idle connections; the listener closes them in this time.
    await sleep(6_500)
    const page = await chromium.context.newPage()
    await page.goto(url)
    await until('verified')
    await sessions.confirm(login.id, { accept: true })
    t.match(await until('stored'), { owner: { handle: 'terry' } }, 'the real key is still delivered')
  })
}

t.test('refuses a rebound name, which a listener without defences accepts', { skip }, async (t) => {
  const { sessions, login, port, chromium } = await start(t, { hasLna: false, rebound: ['rebind.example'] })
  const naive = await openNaiveCallback(t)
  const status = (target: number) => reboundPost(chromium, target)
  t.equal(await status(naive.port), 200)
  t.strictSame(naive.keys, [JUNK])
  t.equal(await status(port), 421)
  t.equal(sessions.get(login.id).state, 'waiting')
  t.ok(sessions.get(login.id).refused > 0)
})

async function attack({ context }: Chromium, script: string): Promise<Page> {
  const page = await context.newPage()
  await page.goto(`${EVIL_ORIGIN}/`)
  await page.evaluate(script)
  return page
}

/** Returns whether the attack reaches a listener without defences. */
async function attackNaive(
  chromium: Chromium,
  naive: { readonly keys: string[] },
  script: string,
  patienceMs: number,
): Promise<boolean> {
  naive.keys.length = 0
  const page = await attack(chromium, script)
  const deadline = performance.now() + patienceMs
  while (naive.keys.length === 0 && performance.now() < deadline) await sleep(20)
  await page.close()
  return naive.keys.includes(JUNK)
}

/** A page of `rebind.example`, a name that now resolves to 127.0.0.1, posts to its own origin. */
async function reboundPost({ context }: Chromium, port: number): Promise<number> {
  const page = await context.newPage()
  const home = `http://rebind.example:${port}/`
  await page.route(home, (route) => route.fulfill({ contentType: 'text/html', body: '<!doctype html>' }))
  await page.goto(home)
  const script = `fetch('/success', {
    method: 'POST', headers: { 'content-type': 'application/json' }, body: '{"api_key":"${JUNK}"}',
  }).then(({ status }) => status)`
  return Number(await page.evaluate(script))
}
