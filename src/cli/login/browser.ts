/** Opens the login page if there can be a browser here; otherwise says what to do. */
import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { basename, isAbsolute } from 'node:path'
import { SECOND_MS } from '../../std/clock.js'

interface BrowserPlan {
  readonly isToBeOpened: boolean
  /** Printed under the URL. */
  readonly advice: string
}

type Environment = Readonly<Record<string, string | undefined>>

interface BrowserSurroundings {
  readonly env: Environment
  readonly platform: string
  readonly isInteractive: boolean
  /** `--no-browser`, or the login was begun by another command. */
  readonly isUnwanted: boolean
  /** The login page, with the callback in its query. */
  readonly url: string
  /** Whoever opened the connection has forwarded the callback's port, and opens the page. */
  readonly isForwarded?: boolean
}

/** Decides whether to open a browser. */
export function planBrowser(around: BrowserSurroundings): BrowserPlan {
  const { env, platform, isInteractive, isUnwanted, url, isForwarded = false } = around
  if (isForwarded)
    return {
      isToBeOpened: false,
      advice: 'Open the page in the browser of the machine that you connect from.',
    }
  const commands = browserCommands(env, platform)
  // Editors set it where they open pages at the user's desk and forward the port: containers, Codespaces, remote windows.
  const hasHelper = isRemoteEditor(env) && commands.length > 0
  const hasDisplay = Boolean(
    commands.length > 0 ||
      env.DISPLAY ||
      env.WAYLAND_DISPLAY ||
      isWsl(env) ||
      platform === 'darwin' ||
      platform === 'win32',
  )
  if (!hasHelper && (env.SSH_CONNECTION || env.SSH_TTY) && !(env.DISPLAY || env.WAYLAND_DISPLAY)) {
    return { isToBeOpened: false, advice: adviceForSsh(url) }
  }
  if (isUnwanted)
    return { isToBeOpened: false, advice: `Open the page in a browser on this machine. ${ELSEWHERE}` }
  if (!hasDisplay) {
    return {
      isToBeOpened: false,
      advice: `There is no display here: open the page in a browser on this machine. ${ELSEWHERE}`,
    }
  }
  if (!isInteractive) {
    return {
      isToBeOpened: false,
      advice: 'There is no terminal here: open the page in a browser on this machine.',
    }
  }
  return { isToBeOpened: true, advice: 'Opening your browser.' }
}

const ELSEWHERE = 'From another machine it ends on an address that does not load: paste that address here.'

function isRemoteEditor(env: Environment): boolean {
  return Boolean(env.REMOTE_CONTAINERS || env.CODESPACES || env.VSCODE_IPC_HOOK_CLI)
}

function isWsl(env: Environment): boolean {
  return Boolean(env.WSL_DISTRO_NAME || env.WSL_INTEROP)
}

interface BrowserCommand {
  /** `%s` stands for the URL; without one it is the last argument. */
  readonly words: readonly string[]
  /** It ends when the browser does, so that its exit says nothing. */
  readonly isBackground: boolean
}

/** They need the terminal that the prompt has, and the page needs JavaScript. */
const TEXT_BROWSERS = /^(www-browser|links2?|elinks|lynx|w3m)$/

/**
 * The command lines of `BROWSER`, in order, as Python's `webbrowser` and `xdg-open` read them: separated by `:` (Windows: `;`),
 * `%s` for the URL, a trailing `&` for a program that does not return. No shell ever sees them, or the URL.
 */
export function browserCommands(env: Environment, platform: string): readonly BrowserCommand[] {
  return (env.BROWSER ?? '').split(platform === 'win32' ? ';' : ':').flatMap((entry) => {
    const line = entry.trim()
    // A path with spaces, as in /mnt/c/Program Files.
    if (isAbsolute(line) && existsSync(line)) return [{ words: [line], isBackground: false }]
    const words = shellWords(line.replace(/\s*&$/, ''))
    const [program] = words
    if (program === undefined || TEXT_BROWSERS.test(basename(program))) return []
    return [{ words, isBackground: line.endsWith('&') }]
  })
}

/** Splits as a POSIX shell does, without expanding anything; nothing if a quote is not closed. */
function shellWords(line: string): readonly string[] {
  const word = /(?:[^\s'"\\]|\\.|'[^']*'|"(?:[^"\\]|\\.)*")+/g
  if (line.replace(word, '').trim() !== '') return []
  return [...line.matchAll(word)].map(([text]) =>
    text.replace(
      /'([^']*)'|"((?:[^"\\]|\\.)*)"|\\(.)/g,
      (_all, single, double, escaped) =>
        single ?? (double === undefined ? escaped : double.replace(/\\(["\\$`])/g, '$1')),
    ),
  )
}

/** The browser runs on another machine, but the key is delivered to a port of this one. */
function adviceForSsh(url: string): string {
  const port = callbackPort(url)
  const forward =
    port === undefined
      ? ''
      : `\nOr, from your own machine: prefect-auth login --on HOST\nOr forward the port before you open the page: ssh -L ${port}:localhost:${port} HOST`
  return `You are connected over SSH, so no browser is opened here. Open the page in your own: it ends on an address that does not load. Paste that address, or a key${forward}`
}

/** The port that the page delivers to. */
function callbackPort(url: string): string | undefined {
  try {
    return new URL(new URL(url).searchParams.get('callback') ?? '').port || undefined
  } catch {
    return undefined
  }
}

/** Asks `BROWSER`, else the desktop, to open an http or https URL. Returns false if it is known to have failed. */
export async function openBrowser(url: string, env: Environment = {}, platform = 'linux'): Promise<boolean> {
  if (!/^https?:\/\//.test(url)) return false
  const commands = browserCommands(env, platform)
  for (const command of commands) if (await run(command, url)) return true
  if (commands.length > 0) return false
  if (isWsl(env) && (await run({ words: ['wslview'], isBackground: false }, url))) return true
  try {
    const { default: open } = await import('open')
    return await hasStarted(await open(url), false)
  } catch {
    return false
  }
}

function run({ words, isBackground }: BrowserCommand, url: string): Promise<boolean> {
  const hasPlace = words.some((word) => word.includes('%s'))
  const [program = '', ...args] = hasPlace
    ? words.map((word) => word.replaceAll('%s', () => url))
    : [...words, url]
  return hasStarted(spawn(program, args, { stdio: 'ignore', detached: true }), isBackground)
}

/** A browser that opened the page in a running instance ends soon, one that stays has opened it. */
const STAYS_MS = 2 * SECOND_MS

function hasStarted(child: ChildProcess, isBackground: boolean): Promise<boolean> {
  child.unref()
  return new Promise((resolve) => {
    const timer = setTimeout(() => resolve(true), STAYS_MS)
    const settle = (isOpen: boolean) => {
      clearTimeout(timer)
      resolve(isOpen)
    }
    child.on('error', () => settle(false))
    if (isBackground) child.on('spawn', () => settle(true))
    else if (child.exitCode !== null) settle(child.exitCode === 0)
    else child.on('exit', (code) => settle(code === 0))
  })
}
