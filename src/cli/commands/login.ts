/** `prefect-auth login`: starts a login, opens the browser, asks what is needed, and reports the owner. */

import type { Command } from 'commander'
import type { LoginSnapshot } from '../../client/client.js'
import { failureOf, failWith } from '../../client/failure.js'
import { SECOND_MS } from '../../std/clock.js'
import { defined } from '../../std/defined.js'
import type { LoginView } from '../../wire/login.js'
import type { WorkspaceView } from '../../wire/profile.js'
import { askYes, openLine, pickWorkspace, readSecret, requirePerson } from '../ask.js'
import { formatFailure } from '../failure.js'
import { openBrowser, planBrowser } from '../open-browser.js'
import { tellPrefectTrouble } from '../prefect-trouble.js'
import { type CommonOptions, common, isDumb, profileName, type Session, type Start } from '../session.js'
import { warnOfFile } from '../standing-here.js'
import { describeExpiry, describeOwner, formatCountdown, printable, shellWord } from '../text.js'

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
    .description('log in with the browser or a key, and choose the workspace')
    .option('-w, --workspace <handle/handle>', 'the workspace, by handle, page URL or id')
    .option('--key-stdin', 'read an API key from stdin instead of opening a browser')
    .option('--no-browser', 'print the URL of the login page, open no browser')
    .option('--owner <email|handle>', 'the owner that the key must have; skips the question')
    .option('--switch-owner', 'allow the owner of the profile to change')
    .option('--exchange', 'replace a pasted key with one minted by prefect-auth')
    .action((options: LoginOptions) => start('login', options, (session) => logIn(session, options)))
}

async function logIn(session: Session, options: LoginOptions): Promise<void> {
  const key = options.keyStdin === true ? await readKey(session) : undefined
  const { client, profile } = session
  const { workspace, owner, switchOwner: switch_owner, exchange } = options
  const { view, etag, isJoined } = await client
    .beginLogin(defined({ profile, workspace, owner, switch_owner }))
    .catch(async (error: unknown) => {
      if (failureOf(error)?.code === 'profile_not_cloud')
        await tellPrefectTrouble(session, await profileName(session))
      throw error
    })
  if (isJoined) session.say('A login for this profile is already in progress; joining it.')
  try {
    // Callers who joined share the first one's browser tab.
    if (key === undefined) await showPage(session, view, !options.browser || isJoined)
    const first =
      key === undefined
        ? { view, etag }
        : await client.submitKey(view.id, { api_key: key, ...defined({ exchange }) })
    const stored = await followLogin({ session, exchange, canPaste: key === undefined }, first)
    session.answer(stored, () => describeLogin(stored))
    explainUse(session, stored)
    await warnOfFile(session)
  } catch (error) {
    // A login that another command started goes on without us.
    if (!isJoined) await client.cancelLogin(view.id).catch(() => undefined)
    if (failureOf(error)?.kind === 'cancelled')
      session.say(isJoined ? 'Stopped waiting; the login goes on.' : 'Login cancelled.')
    throw error
  }
}

function readKey(session: Session): Promise<string> {
  const hint = 'prefect-auth login --key-stdin < FILE'
  return readSecret(session, { what: 'API key', fromStdin: true, hint })
}

async function showPage(session: Session, view: LoginView, isUnwanted: boolean): Promise<void> {
  const { url, profile } = view
  if (url === undefined) return
  session.say(`To log in to profile ${printable(profile)}, open this page:\n\n${printable(url)}\n`)
  const { env, platform } = session.terminal
  const { isInteractive } = session
  const plan = planBrowser({ env, platform, isInteractive, isUnwanted, url })
  const isOpen = plan.isToBeOpened && (await openBrowser(url, env))
  const failedToOpen = 'The browser did not start: open the page yourself.'
  session.say(plan.isToBeOpened && !isOpen ? failedToOpen : plan.advice)
  session.say(`If the browser asks whether ${hostOf(url)} may access apps on this device, allow it once.`)
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
  session.say('To use it: prefect-auth exec -- prefect ...      or: eval "$(prefect-auth env)"')
}

interface LoginFlow {
  readonly session: Session
  /** Whether a key may be pasted while we wait for the browser. */
  readonly canPaste: boolean
  readonly exchange: boolean | undefined
}

/**
 * Resolves when the login is stored. Fails with what ended it, or with `usage` if a question has to be asked and there is
 * no terminal.
 */
async function followLogin(flow: LoginFlow, first: LoginSnapshot): Promise<LoginView> {
  let now = first
  let told: string | undefined
  for (;;) {
    const { view } = now
    // The notice "choose a workspace" is the question that comes next.
    const isQuestion = view.state === 'verified' && view.workspace === undefined
    if (view.notice !== told && view.state !== 'stored' && !isQuestion) tell(flow, view.notice)
    told = view.notice
    switch (view.state) {
      case 'waiting':
      case 'received':
        now = await waitForKey(flow, now)
        told = now.view.state === 'waiting' ? now.view.notice : told
        break
      case 'verified':
        now = await confirm(flow, now)
        break
      case 'confirmed':
        now = await flow.session.client.waitForLogin(now, flow.session.signal)
        break
      case 'stored':
        return view
      case 'cancelled':
        return failWith({
          code: 'login_cancelled',
          kind: 'conflict',
          detail: 'the login was cancelled by another program',
        })
      case 'failed':
      case 'expired':
        tellRefused(flow.session, view)
        return failWith(endOf(view))
    }
  }
}

/** Requests that were no delivery: other programs, or a browser that does not do what the page wants. */
function tellRefused(session: Session, { refused, refused_by = {}, state }: LoginView): void {
  if (refused > 0) {
    const reasons = Object.entries(refused_by).map(([reason, count]) => `${count} ${printable(reason)}`)
    session.say(`note: ${refused} requests to the login's port were refused: ${reasons.join(', ')}`)
  }
  if (state === 'expired') {
    session.say(
      'note: if you confirm in the browser within half an hour, run prefect-auth login again to use that key',
    )
  }
}

function endOf({ error, profile }: LoginView) {
  if (error === undefined) {
    return {
      code: 'login_expired',
      kind: 'conflict',
      detail: `the login of profile '${profile}' ended`,
    } as const
  }
  const { code, kind, detail, hint } = error
  return { code, kind, detail, ...defined({ hint }) }
}

type Happening =
  | { readonly kind: 'changed'; readonly login: LoginSnapshot }
  | { readonly kind: 'pasted'; readonly key: string }

/** Waits for the browser and the paste prompt at once: the first key wins. */
async function waitForKey(flow: LoginFlow, first: LoginSnapshot): Promise<LoginSnapshot> {
  const { session } = flow
  const leaving = new AbortController()
  const signal = AbortSignal.any([session.signal, leaving.signal])
  const poll = (login: LoginSnapshot) => session.client.waitForLogin(login, signal)
  let now = first
  const prompt = openPrompt(flow, () => now.view.expires_at)
  const ticking = prompt === undefined ? undefined : setInterval(prompt.redraw, SECOND_MS)
  let polled = poll(now)
  let pasted = prompt?.next()
  try {
    for (;;) {
      const happening = await nextHappening(polled, pasted)
      if (happening.kind === 'changed') {
        const before = now
        now = happening.login
        if (now.view.state !== 'waiting' && now.view.state !== 'received') return now
        tellProgress(before.view, now.view, prompt?.interject ?? session.say)
        polled = poll(now)
        continue
      }
      const next = await submit(flow, now.view.id, happening.key)
      if (next !== undefined) return next
      pasted = prompt?.next()
    }
  } finally {
    clearInterval(ticking)
    prompt?.close()
    leaving.abort()
    polled.catch(() => undefined)
  }
}

/** Counts down: people have single sign-on and a second factor to go through. */
function openPrompt({ session, canPaste }: LoginFlow, expiresAt: () => string) {
  if (!canPaste || !session.isInteractive) return undefined
  const { stdin, stderr, now } = session.terminal
  return openLine(stdin, stderr, {
    text: () =>
      `(${formatCountdown(Date.parse(expiresAt()) - now())}) Waiting for the browser; or paste an API key here: `,
    isHidden: true,
    isDumb: isDumb(session.terminal),
  })
}

function nextHappening(
  polled: Promise<LoginSnapshot>,
  line: Promise<string> | undefined,
): Promise<Happening> {
  const changed = polled.then((login): Happening => ({ kind: 'changed', login }))
  if (line === undefined) return changed
  return Promise.race([changed, line.then((key): Happening => ({ kind: 'pasted', key }))])
}

/** Returns `undefined` if the key was refused: that was printed, and the login keeps waiting. */
async function submit(flow: LoginFlow, id: string, key: string): Promise<LoginSnapshot | undefined> {
  if (key === '') return undefined
  try {
    return await flow.session.client.submitKey(id, {
      api_key: key,
      ...defined({ exchange: flow.exchange }),
    })
  } catch (error) {
    const failure = failureOf(error)
    if (failure === undefined || failure.kind === 'not_running' || failure.kind === 'no_answer') throw error
    flow.session.say(formatFailure(failure).trimEnd())
    return undefined
  }
}

function tell({ session }: LoginFlow, notice: string | undefined): void {
  if (notice !== undefined) session.say(`note: ${printable(notice)}`)
}

function tellProgress(before: LoginView, now: LoginView, say: (text: string) => void): void {
  if (now.state === 'received' && before.state !== 'received') say('Key received; checking it with Prefect.')
  if (now.notice !== undefined && now.notice !== before.notice) say(`note: ${printable(now.notice)}`)
}

async function confirm(flow: LoginFlow, login: LoginSnapshot): Promise<LoginSnapshot> {
  const { session } = flow
  const { view } = login
  if (view.owner_known !== true && !(await isRightOwner(session, view))) {
    return session.client.confirmLogin(view.id, { accept: false })
  }
  const workspace = view.workspace === undefined ? await chooseWorkspace(session, view) : undefined
  const answer = { accept: true, ...defined({ workspace: workspace?.workspace_id }) }
  return session.client.confirmLogin(view.id, answer)
}

async function isRightOwner(session: Session, { owner, profile }: LoginView): Promise<boolean> {
  const who = owner === undefined ? 'an unknown owner' : describeOwner(owner)
  const flag = owner?.email ?? owner?.handle ?? 'EMAIL'
  requirePerson(session, `the key belongs to ${who}`, `prefect-auth login --owner ${shellWord(flag)}`)
  session.say(`The key belongs to ${who}.`)
  return askYes(session, `Use it for profile ${printable(profile)}?`)
}

async function chooseWorkspace(session: Session, { workspaces = [] }: LoginView): Promise<WorkspaceView> {
  const [first] = workspaces
  if (first === undefined) {
    return failWith({ code: 'workspace_none', kind: 'conflict', detail: 'the key can access no workspace' })
  }
  const names = workspaces.slice(0, 10).map(({ handle }) => handle)
  const more = workspaces.length > names.length ? `, and ${workspaces.length - names.length} more` : ''
  requirePerson(
    session,
    `the key can access several workspaces (${names.join(', ')}${more})`,
    `prefect-auth login --workspace ${shellWord(first.handle)}`,
  )
  return pickWorkspace(session, workspaces)
}
