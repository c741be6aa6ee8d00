/** The login page that another machine prints: its words may be anybody's, so only a page of the one form is taken. Pure. */

export interface RemotePage {
  readonly url: string
  /** `https://app.prefect.cloud/auth/client`: the page without what it is asked for. */
  readonly place: string
  /** Of this machine, where the page delivers to. */
  readonly port: number
}

/** The first whole line of `said` that is the address of a login page with a callback to this machine. */
export function findPage(said: string): RemotePage | undefined {
  for (const [, line = ''] of said.matchAll(/^(https?:\/\/\S+)(?=[\r\n])/gm)) {
    const page = readPage(line)
    if (page !== undefined) return page
  }
  return undefined
}

function readPage(text: string): RemotePage | undefined {
  const url = parse(text)
  // Nothing else may be asked of a page where somebody is signed in.
  if (url === undefined || !['callback', 'callback,g'].includes([...url.searchParams.keys()].join()))
    return undefined
  if (!url.pathname.endsWith('/auth/client') || url.username !== '' || url.hash !== '') return undefined
  const callback = parse(url.searchParams.get('callback') ?? '')
  if (callback?.protocol !== 'http:' || callback.hostname !== 'localhost') return undefined
  const port = Number(callback.port)
  // A port below is not one of a login, and another program's traffic may come to it.
  return port < 1024 ? undefined : { url: url.href, place: `${url.origin}${url.pathname}`, port }
}

/** The login page of a Prefect UI, as `RemotePage.place`; `undefined` if `uiUrl` is no address. */
export function placeOf(uiUrl: string): string | undefined {
  const url = parse(uiUrl)
  return url && `${url.origin}${url.pathname.replace(/\/+$/, '')}/auth/client`
}

function parse(text: string): URL | undefined {
  return URL.canParse(text) ? new URL(text) : undefined
}
