/** Other web pages against the page, in a real Chromium: each attack first reaches a page without defences. */
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { createServer, IncomingMessage, type Server, ServerResponse } from 'node:http'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { BrowserContext, Page } from 'playwright-core'
import t, { type Test } from 'tap'
import { buildApp } from '../../src/api/app.js'
import type { EventType } from '../../src/base/events.js'
import { loadPageDocument } from '../../src/page/document.js'
import { DAY_MS } from '../../src/std/clock.js'
import { createNaivePage, NAIVE_COOKIE } from '../fixtures/naive-page.js'
import { setRenewalStage } from '../fixtures/renewal-stage.js'
import { startChromium, whyNoChromium } from './fixtures/chromium.js'
import { EVIL_ORIGIN, openEvilSite } from './fixtures/evil-site.js'
import { PAGE_ATTACKS } from './fixtures/page-attacks.js'

t.setTimeout(300_000)

const skip = whyNoChromium()
const DOCUMENT = join(import.meta.dirname, '../../dist/page.json')
const PATIENCE_MS = 20_000
/** How long to wait for what must not arrive. */
const QUIET_MS = 500

interface Seen {
  readonly what: string
  readonly status: number
  /** `Sec-Fetch-Site`. */
  readonly site: string
  readonly cookie: string
}

/** What the servers of this process were asked and answered, by port, without a change to them. */
function watchServers(t: Test): (origin: string) => readonly Seen[] {
  const seen: (Seen & { readonly port: number | undefined })[] = []
  const note = (message: unknown) => {
    if (typeof message !== 'object' || message === null) return
    const { request, response }: { request?: unknown; response?: unknown } = message
    if (!(request instanceof IncomingMessage) || !(response instanceof ServerResponse)) return
    const { method, url, headers, socket } = request
    const site = String(headers['sec-fetch-site'])
    const what = `${method} ${url} for ${headers['sec-fetch-dest']}`
    seen.push({
      what,
      status: response.statusCode,
      cookie: headers.cookie ?? '',
      site,
      port: socket.localPort,
    })
  }
  subscribe('http.server.response.finish', note)
  t.teardown(() => unsubscribe('http.server.response.finish', note))
  return (origin) => seen.filter(({ port }) => String(port) === new URL(origin).port)
}

async function listen(t: Test, server: Server): Promise<string> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('no port')
  return `http://127.0.0.1:${address.port}`
}

/** The page of a real broker, open in a browser that also has a hostile page of another port open, and one of the internet. */
async function start(t: Test) {
  const seenAt = watchServers(t)
  const { broker } = await setRenewalStage(t, { ageMs: 3 * DAY_MS })
  const { app: parts } = broker
  await parts.tokens.create({ name: 'dashboard', power: 'proxy', profiles: ['cloud'], lifeMs: DAY_MS })
  const events: EventType[] = []
  t.teardown(parts.events.onEvent(({ type }) => void events.push(type)))
  const page = { ...parts.page, loadDocument: () => loadPageDocument(DOCUMENT) }
  const app = await buildApp({ ...parts, page })
  t.teardown(() => app.close(100))
  const html = '<!doctype html><title>hostile</title><body></body>'
  const hostile = await listen(
    t,
    createServer((_request, response) => response.setHeader('content-type', 'text/html').end(html)),
  )
  const naive = await listen(t, createNaivePage())
  const evil = await openEvilSite(t)
  const { context } = await startChromium(t, {
    trust: [evil.caPath],
    sites: { 'evil.example': evil.port },
    rebound: ['rebind.example'],
    // Without these checks: nothing but our own rules protects the page in older browsers.
    hasLna: false,
  })
  const open = async () => {
    const { url } = await app.page.link()
    const tab = await context.newPage()
    let bearer = ''
    tab.on('request', (request) => {
      bearer = /^Bearer (.+)$/.exec(request.headers().authorization ?? '')?.[1] ?? bearer
    })
    const complaints: string[] = []
    tab.on('console', (message) => complaints.push(message.text()))
    await tab.goto(url)
    await tab.getByRole('status').getByText('live').waitFor()
    await tab.getByText('dashboard').first().waitFor()
    return { url, origin: new URL(url).origin, tab, bearer, complaints }
  }
  return { events, tokens: parts.tokens, context, hostile, naive, open, seenAt }
}

async function attack(context: BrowserContext, from: string, script: string): Promise<Page> {
  const page = await context.newPage()
  await page.goto(`${from}/`)
  // Not its value: a promise would be waited for. A navigation may take the answer with it.
  await Promise.race([page.evaluate(`void (() => { ${script} })()`).catch(() => undefined), sleep(QUIET_MS)])
  return page
}

/** A tab whose navigation was refused may not close before the next one is open. */
async function closeTab(tab: Page): Promise<void> {
  await Promise.race([tab.close().catch(() => undefined), sleep(QUIET_MS)])
}

async function until(isOver: () => boolean, patienceMs: number): Promise<boolean> {
  const deadline = performance.now() + patienceMs
  while (!isOver() && performance.now() < deadline) await sleep(20)
  return isOver()
}

t.test('other pages', { skip }, async (t) => {
  const { context, events, hostile, naive, open, seenAt, tokens } = await start(t)
  const ours = await open()
  t.same(ours.complaints, [], 'its own security policy lets it work')
  t.match(ours.bearer, /^[\w-]{43}$/)

  for (const from of [hostile, EVIL_ORIGIN]) {
    for (const { name, script, isUpgrade = false, isOfNeighbour = false } of PAGE_ATTACKS) {
      if (isOfNeighbour && from !== hostile) continue
      const title = `${name}, from ${from === hostile ? 'another port' : 'the internet'}`
      const before = seenAt(naive).length
      const naiveTab = await attack(context, from, script(naive, ours.bearer))
      const isHit = () =>
        seenAt(naive)
          .slice(before)
          .some(({ status }) => status < 300)
      t.ok(await until(isHit, PATIENCE_MS), `a page without defences: ${title}`)
      await closeTab(naiveTab)

      const told = seenAt(ours.origin).length
      const tab = await attack(context, from, script(ours.origin, ours.bearer))
      // Our own page goes on asking.
      const theirs = () =>
        seenAt(ours.origin)
          .slice(told)
          .filter(({ site }) => site !== 'same-origin')
      if (isUpgrade) await sleep(QUIET_MS)
      else t.ok(await until(() => theirs().length > 0, PATIENCE_MS), `${title} reaches us`)
      t.same(
        theirs().filter(({ status }) => status < 400),
        [],
        `${title} is refused`,
      )
      await closeTab(tab)
    }
  }

  t.same(events, ['page.opened'], 'nothing was opened, revoked or answered')
  t.equal(tokens.list().length, 1)
  t.same(
    seenAt(hostile).filter(({ cookie }) => cookie !== '' && cookie !== NAIVE_COOKIE),
    [],
    'another port gets no cookie of ours',
  )
  t.ok(
    seenAt(hostile).some(({ cookie }) => cookie === NAIVE_COOKIE),
    'as it gets that of a page with cookies',
  )
  t.same(
    await context
      .cookies(ours.origin)
      .then((all) => all.filter(({ value }) => !NAIVE_COOKIE.endsWith(value))),
    [],
  )
  t.equal(await ours.tab.getByRole('status').textContent(), 'live', 'and the page goes on')
})

t.test('a name that resolves to this machine', { skip }, async (t) => {
  const { context, naive, open } = await start(t)
  const ours = await open()
  const ask = async (origin: string) => {
    const home = `http://rebind.example:${new URL(origin).port}/`
    const page = await context.newPage()
    await page.route(home, (route) => route.fulfill({ contentType: 'text/html', body: '<!doctype html>' }))
    await page.goto(home)
    const script = `fetch('/v1/status', { headers: { authorization: 'Bearer ${ours.bearer}' } }).then(({ status }) => status)`
    return page.evaluate(script)
  }
  t.equal(await ask(naive), 200, 'a page without defences')
  t.equal(await ask(ours.origin), 421)
})

t.test('the link opened a second time closes the page, and both tabs say so', { skip }, async (t) => {
  const { context, open, events } = await start(t)
  const { url, tab } = await open()
  const second = await context.newPage()
  await second.goto(url)
  await second.getByText('this link was used before, by you or by somebody else').waitFor()
  await tab.getByText('A link to this page was used twice').waitFor()
  await tab.getByRole('status').getByText('closed').waitFor()
  t.ok(await tab.getByRole('button', { name: 'Revoke dashboard' }).isDisabled())
  t.same(events, ['page.opened', 'page.alarm'])
  const reloaded = await context.newPage()
  await reloaded.goto(new URL('/', url).href)
  await reloaded.getByText('This page has no link').waitFor()
})

t.test('by keyboard alone a token is revoked, with a second press', { skip }, async (t) => {
  const { open, tokens, events } = await start(t)
  const { tab } = await open()
  const focused = async () => String(await tab.evaluate('document.activeElement.textContent'))
  await tab.keyboard.press('Tab')
  t.equal(await focused(), 'Skip to the content')
  await tab.keyboard.press('Enter')
  while ((await focused()) !== 'Revoke dashboard') await tab.keyboard.press('Tab')
  await tab.keyboard.press('Enter')
  t.equal(await focused(), 'Really revoke dashboard? Press again')
  t.equal(tokens.list().length, 1)
  await tokens.create({ name: 'another', power: 'proxy', profiles: ['cloud'], lifeMs: DAY_MS })
  await tab.getByText('Revoke another').waitFor()
  t.equal(await focused(), 'Really revoke dashboard? Press again', 'an update takes neither focus nor press')
  await tab.keyboard.press('Enter')
  await tab.getByText('Revoke dashboard').waitFor({ state: 'detached' })
  await tab.getByText('Revoking dashboard').waitFor({ state: 'detached' })
  t.same(
    tokens.list().map(({ name }) => name),
    ['another'],
  )
  t.equal(await focused(), 'Who may ask, and who does', 'the focus goes to the heading')
  t.ok(events.includes('token.revoked'))
})
