/** The page in a real Chromium: what it shows in each state, at two widths, dark and light, and what is left behind. */
import { join } from 'node:path'
import type { Browser, Page } from 'playwright-core'
import { chromium } from 'playwright-core'
import t, { type Test } from 'tap'
import { startCloudSimulator } from '../../sim/simulator.js'
import { buildApp } from '../../src/api/app.js'
import { loadPageDocument } from '../../src/page/document.js'
import { DAY_MS } from '../../src/std/clock.js'
import { makeRoot, openBroker, type TestBroker } from '../fixtures/broker.js'
import { createManualClock, type ManualClock } from '../fixtures/manual-clock.js'
import { setRenewalStage } from '../fixtures/renewal-stage.js'
import { fillDisk, onSmallDisk, whyNoSmallDisk } from '../fixtures/small-disk.js'
import { CHROMIUM, startChromium, whyNoChromium } from './fixtures/chromium.js'
import { type Look, lookAt } from './fixtures/page-looks.js'

t.setTimeout(300_000)

const skip = whyNoChromium()
const DOCUMENT = join(import.meta.dirname, '../../dist/page.json')
interface Stage {
  readonly broker: TestBroker
  readonly clock: ManualClock
}

/** Opens the page of a broker in a browser whose clock is the broker's. */
async function openPage(t: Test, { broker, clock }: Stage, browser: Browser) {
  const app = await buildApp({
    ...broker.app,
    page: { ...broker.app.page, loadDocument: () => loadPageDocument(DOCUMENT) },
  })
  t.teardown(() => app.close(100))
  return async (look: Look): Promise<Page> => {
    const { width, colorScheme } = look
    const context = await browser.newContext({
      viewport: { width, height: 800 },
      colorScheme,
      bypassCSP: true,
    })
    t.teardown(() => context.close())
    const page = await context.newPage()
    const complaints: string[] = []
    page.on('console', (message) => complaints.push(message.text()))
    page.on('pageerror', ({ message }) => complaints.push(message))
    await page.clock.setFixedTime(clock.now())
    await page.goto((await app.page.link()).url)
    await page.getByRole('status').getByText('live').waitFor()
    t.same(complaints, [], 'the browser has nothing to complain of')
    t.equal(new URL(page.url()).hash, '', 'the link is gone from the address')
    return page
  }
}

t.test('what the page shows', { skip }, async (t) => {
  const browser = await chromium.launch({ executablePath: CHROMIUM, args: ['--no-sandbox', '--disable-gpu'] })
  t.teardown(() => browser.close())

  const show = async (t: Test, name: string, stage: Stage, shows: readonly RegExp[]) => {
    const texts = await lookAt(t, name, await openPage(t, stage, browser))
    for (const text of texts) for (const wanted of shows) t.match(text, wanted)
  }

  await t.test('nothing yet', async (t) => {
    const sim = await startCloudSimulator()
    const clock = createManualClock()
    const broker = await openBroker({ root: await makeRoot(t), sim, clock })
    t.teardown(async () => {
      await broker.close()
      await sim.close()
    })
    await show(t, 'nothing yet', { broker, clock }, [
      /No profile has a key yet/,
      /prefect-auth login/,
      /there are no tokens/,
    ])
  })

  await t.test('healthy', async (t) => {
    const stage = await setRenewalStage(t, { ageMs: 3 * DAY_MS, isHandedOut: true })
    const token = { name: 'dashboard', power: 'proxy', profiles: ['cloud'], lifeMs: DAY_MS } as const
    await stage.broker.app.tokens.create(token)
    await show(t, 'healthy', stage, [
      /cloud \(active\)/,
      /terry \(terry@example\.com\) in prefect\/terry/,
      /minted by prefect-auth, expires in 27 days \(2026-01-31\)/,
      /Renews in 1\d days \(2026-01-\d\d\)/,
      /dashboard/,
      /Not used yet, expires in 24 hours/,
    ])
  })

  await t.test('expiring', async (t) => {
    const stage = await setRenewalStage(t, { ageMs: 20 * DAY_MS })
    stage.sim.allowMinting(false)
    await stage.finish(stage.broker.renewer.tick())
    stage.pass(9 * DAY_MS)
    await stage.finish(stage.broker.renewer.tick())
    await show(t, 'expiring', stage, [/expires in \d+ hours/, /Last renewal: failed/, /prefect-auth/])
  })

  await t.test('rejected', async (t) => {
    const stage = await setRenewalStage(t, { ageMs: 3 * DAY_MS })
    stage.sim.keys.revoke(stage.old)
    void stage.broker.renewer.renew('cloud', { isForced: true }).catch(() => undefined)
    await stage.tickUntil(() => stage.broker.served() === 'key_rejected', DAY_MS)
    await show(t, 'rejected', stage, [/Not served: Prefect no longer accepts the key/, /prefect-auth login/])
  })

  await t.test('disk full', { skip: whyNoSmallDisk() }, async (t) => {
    await onSmallDisk(async (root) => {
      const sim = await startCloudSimulator()
      const clock = createManualClock(sim.clock.now())
      const broker = await openBroker({ root, sim, clock })
      await broker.logins.keep(await broker.delivery(sim.issueKey(), { exchange: true }))
      const mend = fillDisk(root)
      await broker.credentials.markHandedOut(broker.credentials.serve('cloud')).catch(() => undefined)
      await show(t, 'disk full', { broker, clock }, [/disk full/, /expires in/])
      mend()
      await broker.close()
      await sim.close()
    })
  })
})

t.test('nothing secret of the page is in the browser’s files afterwards', { skip }, async (t) => {
  const stage = await setRenewalStage(t, { ageMs: 0 })
  const app = await buildApp({
    ...stage.broker.app,
    page: { ...stage.broker.app.page, loadDocument: () => loadPageDocument(DOCUMENT) },
  })
  t.teardown(() => app.close(100))
  const browser = await startChromium(t, { trust: [], sites: {} })
  const page = await browser.context.newPage()
  let bearer = ''
  page.on('request', (request) => {
    bearer = /^Bearer (.+)$/.exec(request.headers().authorization ?? '')?.[1] ?? bearer
  })
  const { url } = await app.page.link()
  await page.goto(url)
  await page.getByRole('status').getByText('live').waitFor()
  await page.waitForTimeout(500)
  await browser.close()
  t.match(bearer, /^[\w-]{43}$/)
  t.same(await browser.filesWith(bearer), [], 'the bearer')
  // The history has the address that was opened. It is spent: whoever opens it again learns that, and everybody is told.
  const link = new URL(url).hash.slice(1)
  const files = await browser.filesWith(link)
  t.same(
    files.filter(
      (file) => !/\/(?:History|Sessions\/[^/]+|segmentation_platform\/ukm_db)(?:-journal|-wal)?$/.test(file),
    ),
    [],
    'the link, but in the history',
  )
  const again = await fetch(new URL('/session', url), {
    method: 'POST',
    headers: { origin: new URL(url).origin, 'content-type': 'application/json' },
    body: JSON.stringify({ link }),
  })
  t.equal(again.status, 401)
  t.match(await again.text(), /used before/)
})
