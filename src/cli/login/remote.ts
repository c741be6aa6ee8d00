/** `prefect-auth login --on HOST`: logs the daemon of another machine in, with the browser of this one. */

import { type ChildProcess, spawn } from 'node:child_process'
import { failed, failWith } from '../../client/failure.js'
import { quoteWord } from '../../std/text.js'
import { usageError } from '../failure.js'
import type { Session } from '../session.js'
import { printable, shellWord } from '../text.js'
import { openBrowser, planBrowser } from './browser.js'
import { findPage, placeOf, type RemotePage } from './remote-page.js'
import { openTunnelEnd, type TunnelEnd } from './tunnel-end.js'

interface RemoteLogin {
  /** As ssh takes it: `USER@HOST`, `HOST`, a name of its configuration, `ssh://…`. */
  readonly destination: string
  /** Options for the login there. */
  readonly args: readonly string[]
  readonly isBrowserWanted: boolean
}

/** How the command over there ended. */
interface Ended {
  /** `undefined`: ended by us. */
  readonly code: number | undefined
  readonly said: string
  /** The port of a login that was already pending there. */
  readonly otherPort?: number
}

/** Ports that are free here may be taken there. */
const ATTEMPTS = 5
/** What is kept of the output, to find the page and the error code in it, in characters. */
const KEPT = 16_384
/** `sh -l`: a command over ssh gets no login shell, and its PATH often lacks where people install programs. */
const REMOTE = 'PATH="$PATH:$HOME/.local/bin:/usr/local/bin:/opt/homebrew/bin"; exec prefect-auth "$@"'

/**
 * Resolves with the exit code of the login there, whose prompts and output appear here. One ssh connection carries it, and the
 * browser's delivery: the port is bound here, and there, before the page exists. Fails with `usage`, `ssh_failed`,
 * `remote_program_missing`, `remote_program_older` or `login_port_unavailable`.
 */
export async function logInOn(session: Session, login: RemoteLogin): Promise<number> {
  const { destination } = login
  if (!/^[^-\s][^\s]*$/.test(destination)) throw usageError('--on needs USER@HOST, as for ssh')
  let port: number | undefined
  let hasJoined = false
  for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
    const tunnel = await openTunnelEnd(port)
    const ended = await runThere(session, login, tunnel).finally(tunnel.close)
    if (session.signal.aborted) return 130
    if (ended.otherPort !== undefined && !hasJoined) {
      // A login that was begun there earlier: the browser has to come back to its port.
      port = ended.otherPort
      hasJoined = true
      continue
    }
    const isTaken = ended.code === 1 && ended.said.includes('(login_port_unavailable)')
    if (!isTaken || hasJoined) return outcome(ended, destination)
    session.say('That port is taken over there; trying another one.')
  }
  return failWith({
    code: 'login_port_unavailable',
    kind: 'unavailable',
    detail: `found no port that is free here and on ${destination}`,
    hint: `paste a key there: ssh -t ${shellWord(destination)} prefect-auth login`,
  })
}

function outcome({ code, said, otherPort }: Ended, destination: string): number {
  const there = `ssh ${shellWord(destination)}`
  if (otherPort !== undefined || code === undefined) {
    return failWith({
      code: 'login_state',
      kind: 'conflict',
      detail: `another login is pending on ${destination}, and its port cannot be used`,
      hint: `end the other login there, then run this again`,
    })
  }
  if (code === 255) {
    return failWith({
      code: 'ssh_failed',
      kind: 'unavailable',
      detail: `ssh could not connect to ${destination}, or lost the connection`,
      hint: `${there} true`,
    })
  }
  if (code === 127) {
    return failWith({
      code: 'remote_program_missing',
      kind: 'not_found',
      detail: `there is no prefect-auth on ${destination}, in the PATH of its login shell or in ~/.local/bin`,
      hint: 'install it there: README.md, Install it',
    })
  }
  if (code === 2 && said.includes("unknown option '--callback-port'")) {
    return failWith({
      code: 'remote_program_older',
      kind: 'conflict',
      detail: `the prefect-auth on ${destination} is older and cannot log in from another machine`,
      hint: `install this version there, or: ${there} -t prefect-auth login`,
    })
  }
  return code
}

async function runThere(session: Session, login: RemoteLogin, tunnel: TunnelEnd): Promise<Ended> {
  const { isInteractive, terminal } = session
  const child = spawn('ssh', sshArguments(login, tunnel, isInteractive), {
    // With a terminal ssh itself reads from it: passwords, the prompts over there. Without one, the end of this pipe ends the login.
    stdio: isInteractive ? ['inherit', 'pipe', 'inherit'] : ['pipe', 'pipe', 'pipe'],
    env: { ...terminal.env },
  })
  const stop = () => void child.kill()
  session.signal.addEventListener('abort', stop, { once: true })
  let said = ''
  let isFound = false
  let otherPort: number | undefined
  const read = (text: string) => {
    said = (said + text).slice(-KEPT)
    const page = isFound ? undefined : findPage(said)
    if (page === undefined) return
    isFound = true
    if (page.port === tunnel.port) void showPage(session, login, page)
    else {
      otherPort = page.port
      stop()
    }
  }
  const pass = (stream: ChildProcess['stdout'], write: (text: string) => void) =>
    stream?.setEncoding('utf8').on('data', (text: string) => {
      write(text)
      read(text)
    })
  // On a terminal both streams of the command arrive as one.
  pass(child.stdout, isInteractive ? terminal.writeErr : terminal.writeOut)
  pass(child.stderr, terminal.writeErr)
  try {
    const code = await exitOf(child)
    return { said, code, ...(otherPort === undefined ? {} : { otherPort }) }
  } finally {
    session.signal.removeEventListener('abort', stop)
  }
}

function sshArguments(
  { destination, args }: RemoteLogin,
  { port, socket }: TunnelEnd,
  isInteractive: boolean,
): string[] {
  const words = ['login', '--no-browser', '--callback-port', String(port), ...args]
  const options = [
    'ControlMaster=no',
    'ControlPath=none',
    'RemoteCommand=none',
    `BatchMode=${isInteractive ? 'no' : 'yes'}`,
    'ServerAliveInterval=15',
  ]
  return [
    ...options.flatMap((option) => ['-o', option]),
    // Nothing but the login goes through this connection.
    ...['-a', '-x', isInteractive ? '-t' : '-T', '-L', `${socket}:127.0.0.1:${port}`, '--', destination],
    ['sh', '-lc', REMOTE, 'prefect-auth', ...words].map(quoteWord).join(' '),
  ]
}

function exitOf(child: ChildProcess): Promise<number | undefined> {
  return new Promise((resolve, reject) => {
    child.once('error', () =>
      reject(
        failed({
          code: 'ssh_failed',
          kind: 'unavailable',
          detail: 'there is no program ssh here',
          hint: 'install the OpenSSH client',
        }),
      ),
    )
    child.once('close', (code) => resolve(code ?? undefined))
  })
}

/** Opens the page here. The other machine may be anybody's: only Prefect's own page is opened unasked. */
async function showPage(
  session: Session,
  { isBrowserWanted }: RemoteLogin,
  { url, place }: RemotePage,
): Promise<void> {
  const { terminal, isInteractive } = session
  const { env, platform } = terminal
  // ssh has put the terminal into raw mode.
  const say = (text: string) => terminal.writeErr(`${text.replaceAll('\n', '\r\n')}\r\n`)
  const known = ['https://app.prefect.cloud', env.PREFECT_CLOUD_UI_URL ?? ''].map(placeOf)
  if (!known.includes(place)) {
    return say(
      `The page is not opened: it is on ${printable(new URL(place).origin)}. If that is your Prefect Cloud, open it, or set PREFECT_CLOUD_UI_URL here.`,
    )
  }
  const plan = planBrowser({ env, platform, isInteractive, isUnwanted: !isBrowserWanted, url })
  if (!plan.isToBeOpened) return say('Open the page in a browser on this machine.')
  if (!(await openBrowser(url, env, platform))) say('The browser did not start: open the page yourself.')
}
