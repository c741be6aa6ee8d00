/** Pure: our token, in the forms in which Prefect's clients send what they take for a key. */

/** The user name in `PREFECT_API_AUTH_STRING=prefect-auth:<token>`. */
const USER = 'prefect-auth'
const TOKEN = /^pab_[\w-]{43}$/

/** The token in an `Authorization` header: Bearer, in any case, or Basic. `undefined`: what stands there is not ours. */
export function tokenInHeader(authorization: string): string | undefined {
  const [, scheme = '', value = ''] = /^(bearer|basic) +(\S+) *$/i.exec(authorization) ?? []
  if (scheme.toLowerCase() === 'bearer') return TOKEN.test(value) ? value : undefined
  return tokenInAuthString(Buffer.from(value, 'base64').toString('latin1'))
}

/** The token in the first frame of a WebSocket: bare, or as an auth string. */
export function tokenInFrame(value: string): string | undefined {
  return TOKEN.test(value) ? value : tokenInAuthString(value)
}

function tokenInAuthString(text: string): string | undefined {
  const token = text.startsWith(`${USER}:`) ? text.slice(USER.length + 1) : ''
  return TOKEN.test(token) ? token : undefined
}

/** What a server's client is given in the place of its auth string. */
export function tokenAuthString(token: string): string {
  return `${USER}:${token}`
}

/** Whether a key or an auth string out of a profile is one of our own tokens: it is never used and never adopted. */
export function isOwnToken(secret: { startsWith(prefix: string): boolean }): boolean {
  return secret.startsWith('pab_') || secret.startsWith(`${USER}:pab_`)
}
