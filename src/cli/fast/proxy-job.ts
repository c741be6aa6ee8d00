/** Asks the daemon for the environment of a job that goes through its proxy. */
import { failed, parseProblem } from '../../client/failure.js'
import type { Transport } from '../../client/transport.js'
import type { EnvFormat } from '../../wire/credentials.js'
import type { Host } from './host.js'

export interface ProxyJob {
  readonly profile: string | undefined
  readonly format: EnvFormat
  readonly name: string
  /** As long as this process lives, so does the token. */
  readonly pid: number
}

/** The daemon's text. Makes a token. */
export async function fetchProxyEnv(
  transport: Transport,
  { env }: Pick<Host, 'env'>,
  { profile, format, name, pid }: ProxyJob,
): Promise<string> {
  // As Python reads them: the small name counts.
  const noProxy = env.no_proxy ?? env.NO_PROXY
  const body = {
    ...{ mode: 'proxy', format, name, pid },
    ...(profile === undefined ? {} : { profile }),
    ...(noProxy === undefined ? {} : { no_proxy: noProxy }),
  }
  const answer = await transport.send({ method: 'POST', path: '/v1/env', body })
  if (answer.status === 200) return answer.text
  // In a shell's format a failure is no more than a code; as JSON it has a reason and a remedy.
  const said = await transport.send({ method: 'POST', path: '/v1/env', body: { ...body, format: 'json' } })
  const reason = said.status === 200 ? answer : said
  throw failed(parseProblem(reason.status, reason.text))
}

/** `prefect worker start`: the program and what it is told to do, up to the first option, which may hold a secret. */
export function jobName(command: string, args: readonly string[]): string {
  const program = command.slice(command.lastIndexOf('/') + 1)
  const end = args.findIndex((word) => !/^[a-z][a-z0-9-]{0,20}$/.test(word))
  const words = [program, ...args.slice(0, Math.min(end < 0 ? args.length : end, 3))]
  return (
    words
      .join(' ')
      .replace(/[^\x20-\x7e]/g, '?')
      .slice(0, 100) || 'job'
  )
}
