/** A worker whose jobs run elsewhere, where the proxy cannot be reached: noticed before `exec --proxy` starts it. */

interface WorkerCall {
  readonly pool?: string
  /** As the command names it; otherwise it is the pool's. */
  readonly type?: string
}

/** Reads `prefect worker start` out of a command: plain, as a path, by `python -m prefect`, `uv run` and the like. Pure. */
export function findWorkerCall(words: readonly string[]): WorkerCall | undefined {
  const prefect = words.findIndex((word) => /(?:^|\/)prefect(?:\.exe)?$/.test(word))
  const worker = words.indexOf('worker', prefect + 1)
  if (prefect < 0 || worker < 0 || words[worker + 1] !== 'start') return undefined
  const options = words.slice(worker + 2)
  const pool = optionOf(options, ['-p', '--pool'])
  const type = optionOf(options, ['-t', '--type'])
  return { ...(pool === undefined ? {} : { pool }), ...(type === undefined ? {} : { type }) }
}

/** `--type docker`, `--type=docker` */
function optionOf(options: readonly string[], names: readonly string[]): string | undefined {
  for (const [at, word] of options.entries()) {
    if (names.includes(word)) return options[at + 1]
    const option = names.find((name) => word.startsWith(`${name}=`))
    if (option !== undefined) return word.slice(option.length + 1)
  }
  return undefined
}

/** The sentence about the jobs of such a worker; `undefined` if they run beside it. Pure. */
export function describeWorker(type: string): string | undefined {
  switch (type) {
    case 'process':
      return undefined
    case 'docker':
      return `jobs of a docker worker run in containers, where 127.0.0.1 is not this machine: on Linux set its job variable network_mode to "host", else give them a key of their own; both are in docs/workers.md`
    default:
      return `jobs of a worker of type ${type} run on other machines, which do not reach the proxy: give them a key of their own, as docs/workers.md shows`
  }
}

/** A worker waits for its first job longer than this. */
const ASK_MS = 2_000

/** What to say before the command starts; asks Prefect, through the proxy, for the type of its pool. Never rejects. */
export async function noticeWorker(
  words: readonly string[],
  { PREFECT_API_URL: url, PREFECT_API_KEY: token }: Readonly<Record<string, string>>,
): Promise<string | undefined> {
  const call = findWorkerCall(words)
  if (call === undefined) return undefined
  if (call.type !== undefined) return describeWorker(call.type)
  if (call.pool === undefined || url === undefined || token === undefined) return undefined
  try {
    const answer = await fetch(`${url}/work_pools/${encodeURIComponent(call.pool)}`, {
      headers: { authorization: `Bearer ${token}` },
      signal: AbortSignal.timeout(ASK_MS),
    })
    const pool: unknown = answer.ok ? await answer.json() : undefined
    const type = typeof pool === 'object' && pool !== null && 'type' in pool ? pool.type : undefined
    return typeof type === 'string' ? describeWorker(type) : undefined
  } catch {
    // It says so itself, soon.
    return undefined
  }
}
