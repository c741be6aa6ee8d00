/** Opens the login page if there can be a browser here; otherwise says what to do. */
import { type ChildProcess, spawn } from 'node:child_process'

interface BrowserPlan {
  readonly isToBeOpened: boolean
  /** Printed under the URL. */
  readonly advice: string
}

interface BrowserSurroundings {
  readonly env: Readonly<Record<string, string | undefined>>
  readonly platform: string
  readonly isInteractive: boolean
  /** `--no-browser`, or the login was begun by another command. */
  readonly isUnwanted: boolean
  /** The login page, with the callback in its query. */
  readonly url: string
}

/** Decides whether to open a browser. */
export function planBrowser(around: BrowserSurroundings): BrowserPlan {
  const { env, platform, isInteractive, isUnwanted, url } = around
  // Editors set it where they open pages at the user's desk and forward the port: containers, Codespaces, remote windows.
  const hasHelper = isRemoteEditor(env) && browserOf(env) !== undefined
  const hasDisplay = Boolean(
    browserOf(env) !== undefined ||
      env.DISPLAY ||
      env.WAYLAND_DISPLAY ||
      platform === 'darwin' ||
      platform === 'win32',
  )
  if (!hasHelper && (env.SSH_CONNECTION || env.SSH_TTY) && !(env.DISPLAY || env.WAYLAND_DISPLAY)) {
    return { isToBeOpened: false, advice: adviceForSsh(url) }
  }
  if (isUnwanted) return { isToBeOpened: false, advice: 'Open the page in a browser on this machine.' }
  if (!hasDisplay) {
    return {
      isToBeOpened: false,
      advice: 'There is no display here: open the page in a browser on this machine.',
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

function isRemoteEditor(env: BrowserSurroundings['env']): boolean {
  return Boolean(env.REMOTE_CONTAINERS || env.CODESPACES || env.VSCODE_IPC_HOOK_CLI)
}

/** The program that `BROWSER` names; `undefined` for a command line, which the desktop's own tools understand. */
function browserOf({ BROWSER }: BrowserSurroundings['env']): string | undefined {
  return BROWSER && /^[^\s:%]+$/.test(BROWSER) ? BROWSER : undefined
}

/** The browser runs on another machine, but the key is delivered to a port of this one. */
function adviceForSsh(url: string): string {
  const port = callbackPort(url)
  const forward =
    port === undefined ? '' : `, or forward the port first: ssh -L ${port}:localhost:${port} HOST`
  return `You are connected over SSH, so no browser is opened. Paste a key${forward}`
}

function callbackPort(url: string): string | undefined {
  try {
    return new URL(new URL(url).searchParams.get('callback') ?? '').port || undefined
  } catch {
    return undefined
  }
}

/** Asks `BROWSER`, else the desktop, to open an http or https URL. Returns false if it is known to have failed. */
export async function openBrowser(url: string, env: BrowserSurroundings['env'] = {}): Promise<boolean> {
  if (!/^https?:\/\//.test(url)) return false
  const browser = browserOf(env)
  if (browser !== undefined) return started(spawn(browser, [url], { stdio: 'ignore', detached: true }))
  try {
    const { default: open } = await import('open')
    const child = await open(url)
    child.on('error', () => undefined)
    return true
  } catch {
    return false
  }
}

function started(child: ChildProcess): Promise<boolean> {
  child.unref()
  return new Promise((resolve) => {
    child.on('spawn', () => resolve(true))
    child.on('error', () => resolve(false))
  })
}
