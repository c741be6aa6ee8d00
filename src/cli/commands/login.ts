/** `prefect-auth login`: starts a login, opens the browser, asks what is needed, and reports the owner. */

import { type Command, InvalidArgumentError } from 'commander'
import { failureOf, failWith } from '../../client/failure.js'
import { defined } from '../../std/defined.js'
import type { LoginView } from '../../wire/login.js'
import { readSecret } from '../ask.js'
import { usageError } from '../failure.js'
import { openBrowser, planBrowser } from '../login/browser.js'
import { followLogin } from '../login/flow.js'
import { logInOn } from '../login/remote.js'
import { tellPrefectTrouble } from '../prefect-trouble.js'
import { type CommonOptions, common, profileName, type Session, type Start } from '../session.js'
import { warnOfFile } from '../standing-here.js'
import { describeExpiry, describeOwner, printable } from '../text.js'

interface LoginOptions extends CommonOptions {
  readonly workspace?: string
  readonly keyStdin?: boolean
  readonly addressStdin?: boolean
  readonly browser: boolean
  readonly on?: string
  readonly callbackPort?: number
  readonly owner?: string
  readonly switchOwner?: boolean
  readonly exchange?: boolean
}

export function addLogin(program: Command, start: Start): void {
  common(program.command('login'))
    .description('log in with the browser or a key, and choose the workspace')
    .option('-w, --workspace <handle/handle>', 'the workspace, by handle, page URL or id')
    .option('--key-stdin', 'read an API key from stdin instead of opening a browser')
    .option('--address-stdin', 'read the address that a browser elsewhere ended on from stdin')
    .option('--no-browser', 'print the URL of the login page, open no browser')
    .option('--on <user@host>', 'log in the daemon of another machine over ssh, with the browser here')
    .option('--callback-port <port>', 'the port that is forwarded to this machine for the browser', readPort)
    .option('--owner <email|handle>', 'the owner that the key must have; skips the question')
    .option('--switch-owner', 'allow the owner of the profile to change')
    .option('--exchange', 'replace a pasted key with one minted by prefect-auth')
    .action((options: LoginOptions) =>
      start('login', options, (session) =>
        options.on === undefined ? logIn(session, options) : logInElsewhere(session, options, options.on),
      ),
    )
}

function readPort(text: string): number {
  const port = Number(text)
  if (Number.isInteger(port) && port >= 1024 && port <= 65_535) return port
  throw new InvalidArgumentError('Expected a port from 1024 to 65535.')
}

/** What was given for the login there is given there; what is of this machine stays here. */
function logInElsewhere(session: Session, options: LoginOptions, destination: string): Promise<number> {
  if (options.keyStdin === true || options.addressStdin === true || options.callbackPort !== undefined)
    throw usageError('--on cannot be combined with --key-stdin, --address-stdin or --callback-port')
  const values = { '--profile': options.profile, '--workspace': options.workspace, '--owner': options.owner }
  const flags = {
    '--switch-owner': options.switchOwner,
    '--exchange': options.exchange,
    '--json': options.json,
  }
  const args = [
    ...Object.entries(values).flatMap(([flag, value]) => (value === undefined ? [] : [`${flag}=${value}`])),
    ...Object.entries(flags).flatMap(([flag, isSet]) => (isSet === true ? [flag] : [])),
  ]
  return logInOn(session, { destination, args, isBrowserWanted: options.browser })
}

export async function logIn(given: Session, options: LoginOptions): Promise<void> {
  // Over ssh without a terminal, the end of stdin is the only news of Ctrl-C at the other end.
  const isDriven = options.callbackPort !== undefined && given.terminal.stdin.isTTY !== true
  const driver =
    isDriven && options.addressStdin !== true && options.keyStdin !== true ? watchEnd(given) : undefined
  try {
    await logInHere(driver === undefined ? given : { ...given, signal: driver.signal }, options)
  } finally {
    driver?.stop()
  }
}

function watchEnd({ terminal: { stdin }, signal }: Session) {
  const ended = new AbortController()
  const end = () => ended.abort()
  stdin.on('end', end).on('error', end).resume()
  return { signal: AbortSignal.any([signal, ended.signal]), stop: () => void stdin.off('end', end).destroy() }
}

async function logInHere(session: Session, options: LoginOptions): Promise<void> {
  if (options.keyStdin === true && options.addressStdin === true)
    throw usageError('stdin holds a key or an address: give --key-stdin or --address-stdin')
  const key = options.keyStdin === true ? await readKey(session) : undefined
  const { client, profile } = session
  const { workspace, owner, switchOwner: switch_owner, exchange, callbackPort: port } = options
  const { view, etag, isJoined } = await client
    .beginLogin(defined({ profile, workspace, owner, port, switch_owner }))
    .catch(async (error: unknown) => {
      if (failureOf(error)?.code === 'profile_not_cloud')
        await tellPrefectTrouble(session, await profileName(session))
      if (port !== undefined && failureOf(error)?.code === 'bad_request') return failWith(OLDER_DAEMON)
      throw error
    })
  if (isJoined) session.say('A login for this profile is already in progress; joining it.')
  try {
    // Callers who joined share the first one's browser tab.
    if (key === undefined)
      await showPage(session, view, {
        isUnwanted: !options.browser || isJoined,
        isForwarded: port !== undefined,
      })
    const first =
      key === undefined
        ? { view, etag }
        : await client.submitKey(view.id, { api_key: key, ...defined({ exchange }) })
    const paste = key !== undefined ? 'none' : options.addressStdin === true ? 'stdin' : 'prompt'
    const stored = await followLogin({ session, exchange, paste }, first)
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

const OLDER_DAEMON = {
  code: 'daemon_older',
  kind: 'conflict',
  detail: 'the prefect-authd that runs here is older than this command, and opens no port that was asked for',
  hint: 'prefect-auth service install',
} as const

async function showPage(
  session: Session,
  view: LoginView,
  wish: { readonly isUnwanted: boolean; readonly isForwarded: boolean },
): Promise<void> {
  const { url, profile } = view
  if (url === undefined) return
  session.say(`To log in to profile ${printable(profile)}, open this page:\n\n${printable(url)}\n`)
  const { env, platform } = session.terminal
  const { isInteractive } = session
  const plan = planBrowser({ env, platform, isInteractive, ...wish, url })
  const isOpen = plan.isToBeOpened && (await openBrowser(url, env, platform))
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
