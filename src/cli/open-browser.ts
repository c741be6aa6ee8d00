/** Opens the login page where a browser can be expected, and says why not where it can not. */
interface BrowserPlan {
  readonly isToBeOpened: boolean
  /** What to tell the person. */
  readonly advice: string
}

interface BrowserSurroundings {
  readonly env: Readonly<Record<string, string | undefined>>
  readonly platform: string
  readonly isInteractive: boolean
  readonly isUnwanted: boolean
  /** The login page, with the callback in its query. */
  readonly url: string
}

/** Pure: whether to open, by where we are. */
export function planBrowser(around: BrowserSurroundings): BrowserPlan {
  const { env, platform, isInteractive, isUnwanted, url } = around
  const hasDisplay = Boolean(
    env.DISPLAY || env.WAYLAND_DISPLAY || platform === 'darwin' || platform === 'win32',
  )
  if ((env.SSH_CONNECTION || env.SSH_TTY) && !(env.DISPLAY || env.WAYLAND_DISPLAY)) {
    return { isToBeOpened: false, advice: adviceForSsh(url) }
  }
  if (isUnwanted) return { isToBeOpened: false, advice: 'Open the page in a browser on this machine.' }
  if (!hasDisplay) {
    return { isToBeOpened: false, advice: 'No display here: open the page in a browser on this machine.' }
  }
  if (!isInteractive) {
    return { isToBeOpened: false, advice: 'Not a terminal: open the page in a browser on this machine.' }
  }
  return { isToBeOpened: true, advice: 'Opening it in your browser.' }
}

/** The browser is on another machine, and the key comes to a port of this one. */
function adviceForSsh(url: string): string {
  const port = callbackPort(url)
  const forward =
    port === undefined ? '' : `, or first forward the port: ssh -L ${port}:localhost:${port} HOST`
  return `You are here over SSH, so no browser is opened. Paste a key${forward}`
}

function callbackPort(url: string): string | undefined {
  try {
    return new URL(new URL(url).searchParams.get('callback') ?? '').port || undefined
  } catch {
    return undefined
  }
}

/** Hands an http or https URL to the desktop. Answers whether that worked, as far as one can know. */
export async function openBrowser(url: string): Promise<boolean> {
  if (!/^https?:\/\//.test(url)) return false
  try {
    const { default: open } = await import('open')
    const child = await open(url)
    child.on('error', () => undefined)
    return true
  } catch {
    return false
  }
}
