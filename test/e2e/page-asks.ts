/** A question on the page, in a real Chromium: after a click on yes, the unmodified Prefect client goes on. */
import { spawn } from 'node:child_process'
import { chromium } from 'playwright-core'
import t from 'tap'
import { pageLink } from '../../src/wire/page.js'
import { startAsksStage } from '../fixtures/asks-stage.js'
import { findPrefect } from '../fixtures/real-prefect.js'
import { CHROMIUM, whyNoChromium } from './fixtures/chromium.js'
import { type Look, lookAt } from './fixtures/page-looks.js'

t.setTimeout(300_000)

t.test('a question on the page, and what a click does', { skip: whyNoChromium() }, async (t) => {
  const prefect = findPrefect('3', t)
  if (prefect === undefined) return
  const { cli, root, runs, deploy, jobEnv, oneQuestion, list } = await startAsksStage(t, prefect)
  const browser = await chromium.launch({ executablePath: CHROMIUM, args: ['--no-sandbox', '--disable-gpu'] })
  t.teardown(() => browser.close())
  const openPage = async ({ width, colorScheme }: Look) => {
    const link = pageLink.parse(JSON.parse((await cli(['ui', '--json'])).stdout))
    // Without our security policy, axe-core can be put into the page.
    const size = { width, height: 800 }
    const context = await browser.newContext({ viewport: size, colorScheme, bypassCSP: true })
    t.teardown(() => context.close())
    const page = await context.newPage()
    await page.goto(link.url)
    return page
  }
  await deploy('Testing', 'nightly')
  const env = await jobEnv()
  const run = () => {
    const args = ['deployment', 'run', 'Testing/nightly']
    const child = spawn(prefect.bin, args, { cwd: root, env, stdio: ['ignore', 'pipe', 'pipe'] })
    t.teardown(() => child.kill('SIGKILL'))
    let said = ''
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding('utf8').on('data', (text: string) => {
        said += text
      })
    const ended = new Promise<number | null>((resolve) => child.once('close', resolve))
    return { child, ended, said: () => said }
  }
  const sentence = 'start deployment Testing/nightly in prefect/production'

  const first = run()
  await oneQuestion(first.said)
  const shown = await lookAt(t, 'question', async (look) => {
    const page = await openPage(look)
    await page.getByRole('heading', { name: sentence }).waitFor()
    await page.getByText('The request').click()
    await page.getByRole('button', { name: 'Yes, once' }).and(page.locator(':enabled')).waitFor()
    return page
  })
  for (const text of shown) {
    t.match(text, new RegExp(`${sentence}.*Token agent, profile cloud`))
    t.match(text, new RegExp(`Asked by (?:python|prefect)[\\w.]*\\[${first.child.pid}\\] < `))
    t.match(text, /POST \/accounts\/\S+\/deployments\/\S+\/create_flow_run/)
  }

  const page = await openPage({ width: 1280, colorScheme: 'light' })
  const yes = page.getByRole('button', { name: 'Yes, once' })
  await yes.waitFor()
  t.equal(await page.title(), '(1) prefect-auth')
  t.ok(await yes.isDisabled(), 'no yes in the first seconds, in which a stolen link would be noticed')
  await yes.click()
  t.equal(await first.ended, 0, first.said())
  t.equal((await runs()).length, 1, 'exactly one run')
  await page.getByText('Question answered with yes, profile cloud, you, on this page').waitFor()

  const second = run()
  const no = page.getByRole('button', { name: 'No', exact: true })
  await no.waitFor()
  await page.waitForTimeout(600)
  await no.click()
  t.not(await second.ended, 0)
  t.match(second.said().replace(/\s+/g, ' '), new RegExp(`the answer was no: ${sentence}`))
  t.equal((await runs()).length, 1)
  t.same((await list()).asks, [])
})
