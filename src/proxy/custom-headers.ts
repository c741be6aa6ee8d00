/** The custom headers of a job through the proxy: an Authorization among them would take the place of its token. */

export interface CustomHeaderSources {
  /** The job's `PREFECT_CLIENT_CUSTOM_HEADERS`. */
  readonly variable?: string
  /** That of its profile. */
  readonly profile?: string
  /** How the files of its directory spell such a header. */
  readonly inFiles?: readonly string[]
}

/**
 * The variable to set, `undefined` to leave it alone. Prefect merges the headers of all sources, name by name: what is in the
 * variable can be left out, what stands elsewhere must be replaced under the name that it has there.
 */
export function planCustomHeaders(
  { variable, profile, inFiles = [] }: CustomHeaderSources,
  token: string,
): string | undefined {
  const own = parseHeaders(variable) ?? []
  const kept = own.filter(([name]) => !isAuthorization(name))
  const elsewhere = [...(parseHeaders(profile) ?? []).map(([name]) => name), ...inFiles].filter(
    isAuthorization,
  )
  if (kept.length === own.length && elsewhere.length === 0) return undefined
  const replaced = elsewhere.map((name) => [name, `Bearer ${token}`] as const)
  return JSON.stringify(Object.fromEntries([...kept, ...replaced]))
}

/** Whether Prefect's client sends this header instead of its key. */
export function isAuthorization(name: string): boolean {
  return name.toLowerCase() === 'authorization'
}

/** `undefined` if it is not a JSON object: Prefect does not start with that, whatever we do. */
function parseHeaders(text: string | undefined): [string, unknown][] | undefined {
  if (text === undefined) return undefined
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null ? Object.entries(value) : undefined
  } catch {
    return undefined
  }
}
