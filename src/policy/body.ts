/** Request bodies of which Prefect cannot read anything else than we do. Pure. */

/** The headers of a request that say how its body is to be read. */
export interface BodyHeaders {
  readonly 'content-type'?: string | undefined
  readonly 'content-encoding'?: string | undefined
}

/** Either an object or a list in JSON, as text and as a value, or why the body is neither. */
export type ReadJson =
  | { readonly kind: 'json'; readonly text: string; readonly value: object }
  | { readonly kind: 'other'; readonly why: string }

const UTF_8 = /;\s*charset="?utf-?8"?\s*(?=;|$)/gi

/** Prefect's servers read bodies in UTF-16 and UTF-32, too: we do not. */
export function readJson(body: Uint8Array, headers: BodyHeaders): ReadJson {
  const { 'content-encoding': encoding = 'identity', 'content-type': type = '' } = headers
  if (encoding.trim().toLowerCase() !== 'identity') return { kind: 'other', why: 'the body is compressed' }
  if (/charset/i.test(type.replace(UTF_8, ''))) return { kind: 'other', why: 'the body is not UTF-8' }
  try {
    const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(body)
    const value: unknown = JSON.parse(text)
    if (typeof value === 'object' && value !== null) return { kind: 'json', text, value }
  } catch {
    // Said below.
  }
  return { kind: 'other', why: 'the body is not JSON in UTF-8' }
}
