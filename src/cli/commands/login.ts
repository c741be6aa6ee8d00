/** `prefect-auth login`: begins, opens the browser, follows, and says who one is now. */
import type { Command } from 'commander'
import { failureOf } from '../../client/failure.js'
import type { LoginView } from '../../wire/login.js'
import { readSecret } from '../ask.js'
import type { Session } from '../context.js'
import { openBrowser, planBrowser } from '../open-browser.js'
import { printable } from '../printable.js'
import { type CommonOptions, common, type Start } from '../start.js'
import { describeExpiry, describeOwner } from '../text.js'
import { followLogin } from './login-flow.js'

interface LoginOptions extends CommonOptions {
  readonly workspace?: string
  readonly keyStdin?: boolean
  readonly browser: boolean
  readonly owner?: string
  readonly switchOwner?: boolean
  readonly exchange?: boolean
}

export function addLogin(program: Command, start: Start): void {
  common(program.command('login'))
    .description('log in with the browser or with a key, choose the workspace')
    .option('-w, --workspace <handle/handle>', 'the workspace to use; also a page URL of it, or its id')
    .option('--key-stdin', 'read an API key from stdin instead of opening a browser')
    .option('--no-browser', 'print the page, open no browser')
    .option('--owner <email|handle>', 'whose key it must be; it is not asked then')
    .option('--switch-owner', 'allow another owner than the one of before')
    .option('--exchange', 'replace a pasted key by one of our own')
    .action((options: LoginOptions) => start('login', options, (session) => logIn(session, options)))
}

async function logIn(session: Session, options: LoginOptions): Promise<void> {
  const key = options.keyStdin === true ? await readKey(session) : undefined
  const { client, profile } = session
  const { view, etag, isJoined } = await client.beginLogin({
    ...(profile === undefined ? {} : { profile }),
    ...(options.workspace === undefined ? {} : { workspace: options.workspace }),
    ...(options.owner === undefined ? {} : { owner: options.owner }),
    ...(options.switchOwner === true ? { switch_owner: true } : {}),
  })
  if (isJoined) session.say('A login for this profile is under way already: joining it.')
  const exchange = options.exchange === true
  try {
    // N waiting callers share one browser tab.
    if (key === undefined) await showPage(session, view, !options.browser || isJoined)
    const first =
      key === undefined
        ? { view, etag }
        : await client.submitKey(view.id, { api_key: key, ...(exchange ? { exchange } : {}) })
    const stored = await followLogin({ session, exchange, canPaste: key === undefined }, first)
    session.answer(stored, () => describeLogin(stored))
    explainUse(session, stored)
  } catch (error) {
    // Somebody else's login goes on without us.
    if (!isJoined) await client.cancelLogin(view.id).catch(() => undefined)
    if (failureOf(error)?.kind === 'cancelled') session.say(isJoined ? 'Left.' : 'The login was cancelled.')
    throw error
  }
}

function readKey(session: Session): Promise<string> {
  return readSecret(session, {
    what: 'API key',
    fromStdin: true,
    flag: 'prefect-auth login --key-stdin < FILE',
  })
}

async function showPage(session: Session, view: LoginView, isUnwanted: boolean): Promise<void> {
  const { url, profile } = view
  if (url === undefined) return
  session.say(`Log in to profile ${printable(profile)} on this page:\n\n${printable(url)}\n`)
  const { env, platform } = session.terminal
  const { isInteractive } = session
  const plan = planBrowser({ env, platform, isInteractive, isUnwanted, url })
  const isOpen = plan.isToBeOpened && (await openBrowser(url))
  const failedToOpen = 'The browser could not be started: open the page yourself.'
  session.say(plan.isToBeOpened && !isOpen ? failedToOpen : plan.advice)
  session.say(`If it asks whether ${hostOf(url)} may access apps on this device, you may allow it once.`)
}

function hostOf(url: string): string {
  try {
    return new URL(url).host
  } catch {
    return 'the page'
  }
}

function describeLogin(view: LoginView): string {
  const who = view.owner === undefined ? 'an unnamed owner' : describeOwner(view.owner)
  const where = view.workspace === undefined ? '' : `, workspace ${printable(view.workspace.handle)}`
  const life = view.key === undefined ? '' : `; ${describeExpiry(view.key)}`
  return `Logged in as ${who}${where}, profile ${printable(view.profile)}${life}`
}

function explainUse(session: Session, { exchange, notice }: LoginView): void {
  if (exchange?.done === false) session.say(`note: ${printable(exchange.message)}`)
  if (notice !== undefined) session.say(`note: ${printable(notice)}`)
  session.say('For a plain prefect: prefect-auth exec -- prefect ...   or   eval "$(prefect-auth env)"')
}
