/** A login as the person at the command line goes through it: wait, paste, confirm the owner, choose the workspace. */

import type { LoginSnapshot } from '../../client/client.js'
import { failureOf, failWith } from '../../client/failure.js'
import { SECOND_MS } from '../../std/clock.js'
import { defined } from '../../std/defined.js'
import type { LoginView } from '../../wire/login.js'
import type { WorkspaceView } from '../../wire/profile.js'
import { askYes, type OpenQuestion, openLine, openStdinLine, pickWorkspace, requirePerson } from '../ask.js'
import { formatFailure } from '../failure.js'
import { isDumb, type Session } from '../session.js'
import { describeOwner, formatCountdown, printable, shellWord } from '../text.js'

export interface LoginFlow {
  readonly session: Session
  /** Where a key or an address may come from while we wait for the browser; without a terminal, `prompt` is nothing. */
  readonly paste: 'prompt' | 'stdin' | 'none'
  readonly exchange: boolean | undefined
}

/**
 * Resolves when the login is stored. Fails with what ended it, or with `usage` if a question has to be asked and there is
 * no terminal.
 */
export async function followLogin(flow: LoginFlow, first: LoginSnapshot): Promise<LoginView> {
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
  | { readonly kind: 'pasted'; readonly line: string }

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
      const next = await submit(flow, now.view.id, happening.line)
      if (next !== undefined) return next
      pasted = prompt?.next()
    }
  } finally {
    clearInterval(ticking)
    prompt?.close()
    leaving.abort()
    polled.catch(() => undefined)
    pasted?.catch(() => undefined)
  }
}

/** Counts down: people have single sign-on and a second factor to go through. */
function openPrompt({ session, paste }: LoginFlow, expiresAt: () => string): OpenQuestion | undefined {
  if (paste === 'stdin') return openStdinLine(session)
  if (paste === 'none' || !session.isInteractive) return undefined
  const { stdin, stderr, now } = session.terminal
  return openLine(stdin, stderr, {
    text: () =>
      `(${formatCountdown(Date.parse(expiresAt()) - now())}) Waiting for the browser; or paste an API key or address here: `,
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
  return Promise.race([changed, line.then((text): Happening => ({ kind: 'pasted', line: text }))])
}

const IN_HISTORY =
  "note: this key is in that browser's history now. prefect-auth exchanges it for one of its own, but it works until it expires: delete the address there"

/** Without `http://`, too: so browsers show it, and some copy it. */
const ADDRESS = /^["'`<]?(https?:\/\/|(localhost|127\.0\.0\.1|\[::1\]):\d)/i

/**
 * Returns `undefined` if what was pasted was refused: that was printed, and the login keeps waiting. From stdin nothing more
 * comes: the failure is thrown.
 */
async function submit(flow: LoginFlow, id: string, line: string): Promise<LoginSnapshot | undefined> {
  if (line === '') return undefined
  const { session, paste, exchange } = flow
  const { client } = session
  try {
    if (paste === 'prompt' && !ADDRESS.test(line))
      return await client.submitKey(id, { api_key: line, ...defined({ exchange }) })
    const next = await client.submitAddress(id, line)
    session.say(IN_HISTORY)
    return next
  } catch (error) {
    const failure = failureOf(error)
    if (failure === undefined || failure.kind === 'not_running' || failure.kind === 'no_answer') throw error
    if (paste === 'stdin') throw error
    session.say(formatFailure(failure).trimEnd())
    return undefined
  }
}

function tell({ session }: LoginFlow, notice: string | undefined): void {
  if (notice !== undefined) session.say(`note: ${printable(notice)}`)
}

function tellProgress(before: LoginView, now: LoginView, say: (text: string) => void): void {
  if (now.state === 'received' && before.state !== 'received')
    say('Key received, you may close the browser tab; checking it with Prefect.')
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
  const flag = shellWord(owner?.email ?? owner?.handle ?? 'EMAIL') + asNamed(session)
  requirePerson(session, `the key belongs to ${who}`, `prefect-auth login --owner ${flag}`)
  session.say(
    `The key belongs to ${who}. y takes it; Enter alone is no: the login then waits for another key.`,
  )
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
    `prefect-auth login --workspace ${shellWord(first.handle)}${asNamed(session)}`,
  )
  return pickWorkspace(session, workspaces)
}

/** What a command needs in addition to be for the profile that this one was for. */
function asNamed({ profile }: Session): string {
  return profile === undefined ? '' : ` --profile ${shellWord(profile)}`
}
