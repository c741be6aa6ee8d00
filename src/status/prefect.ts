/** Whether Prefect answers a profile: Cloud with its key, a self-hosted server with its auth string; and what to do if not. */

import { BrokerError } from '../base/errors.js'
import type { CloudApi, Workspace } from '../prefect/cloud.js'
import { CHECK_NETWORK } from '../prefect/network-errors.js'
import type { ServerAnswer } from '../prefect/server.js'
import { isLoopbackHost } from '../prefect/way-out.js'
import { shownName } from '../profiles/bundled.js'
import { type Credentials, type Served, target } from '../serve/credentials.js'
import { defined } from '../std/defined.js'
import { quoteWord } from '../std/text.js'
import type { Finding } from './listeners.js'

export interface PrefectParts {
  readonly credentials: Credentials
  readonly cloud: CloudApi
  /** Asks the server of a profile, which must be one of a server. Never rejects. */
  readonly askServer: (served: Served) => Promise<ServerAnswer>
}

/** Asks Prefect Cloud, or the server, with what is served for the profile, by default the active one. */
export async function examinePrefect(
  { credentials, cloud, askServer }: PrefectParts,
  profile: string | undefined,
): Promise<Finding> {
  const { outcome, resolved } = credentials.state(profile)
  if (outcome.kind === 'refused' || outcome.served.kind === 'none') {
    return {
      verdict: 'ok',
      finding: `not checked: profile ${shownName(resolved.name)} has nothing to connect with`,
    }
  }
  const { served } = outcome
  if (served.kind === 'server') {
    const { name, apiUrl = '' } = resolved
    return judgeServer(await askServer(served), { name, apiUrl, hasAuth: served.authString !== undefined })
  }
  // Somebody who asks about one profile mends that one.
  const pinned = profile === undefined ? '' : ` --profile ${quoteWord(resolved.name)}`
  try {
    const reached = await cloud.workspaces(target(credentials, served))
    return judgeReach(reached, served.workspace?.workspaceId, pinned)
  } catch (error) {
    if (!(error instanceof BrokerError)) throw error
    const remedy = error.hint?.replace(/prefect-auth login$/, (command) => `${command}${pinned}`)
    return { verdict: 'problem', finding: error.message, ...defined({ remedy }) }
  }
}

/** `wanted`: the id of the workspace in the profile's URL. `pinned`: the option that names the profile, after a blank. */
export function judgeReach(
  reached: readonly Workspace[],
  wanted: string | undefined,
  pinned: string,
): Finding {
  if (wanted === undefined || reached.some(({ workspaceId }) => workspaceId === wanted)) {
    const count = reached.length === 1 ? '1 workspace' : `${reached.length} workspaces`
    return { verdict: 'ok', finding: `Prefect accepts the key; it reaches ${count}` }
  }
  return {
    verdict: 'problem',
    finding: "the key does not reach the workspace in the profile's API URL",
    remedy: `prefect-auth workspace set${pinned}`,
  }
}

/** `apiUrl`: the profile's, of which no user name or password is shown. */
export function judgeServer(
  answer: ServerAnswer,
  { name, apiUrl, hasAuth }: { readonly name: string; readonly apiUrl: string; readonly hasAuth: boolean },
): Finding {
  const { host, hostname } = new URL(apiUrl)
  const set = `prefect-auth profile set ${quoteWord(name)}`
  switch (answer.kind) {
    case 'good': {
      const { version } = answer
      return {
        verdict: 'ok',
        finding: `the server at ${host} answers${version ? `: Prefect ${version}` : ''}`,
      }
    }
    case 'silent':
      return {
        verdict: 'problem',
        finding: answer.error.message,
        remedy: remedyOf(answer.error, hostname, set),
      }
    case 'refused':
      return {
        verdict: 'problem',
        finding: hasAuth
          ? `the server at ${host} refuses the auth string of profile ${shownName(name)}`
          : `the server at ${host} requires an auth string, and profile ${shownName(name)} has none`,
        remedy: `${set} --auth-string-stdin`,
      }
    case 'elsewhere':
      return {
        verdict: 'problem',
        finding: `the API of the server is not at the URL of profile ${shownName(name)}, but at ${answer.apiUrl}`,
        remedy: `${set} --api-url ${quoteWord(answer.apiUrl)}`,
      }
    case 'foreign':
      return {
        verdict: 'problem',
        finding: `what answers at ${host} is not the API of a Prefect server: ${answer.found}`,
        remedy: `${set} --api-url http://HOST:PORT/api`,
      }
    case 'failing':
      return {
        verdict: 'problem',
        finding: `the server at ${host} answers ${answer.status}`,
        remedy: 'check the log of the server, and its database',
      }
  }
}

/** The error's own advice, unless it is about Prefect Cloud or would lead back to doctor. */
function remedyOf({ hint = CHECK_NETWORK }: BrokerError, hostname: string, set: string): string {
  if (hint.includes('PREFECT_CLOUD_API_URL')) return `${set} --api-url http://HOST:PORT/api`
  if (hint !== CHECK_NETWORK) return hint
  return isLoopbackHost(hostname)
    ? `prefect server start      (or, if it listens elsewhere: ${set} --api-url URL)`
    : `check that the server runs and can be reached from here      (or, if it is elsewhere: ${set} --api-url URL)`
}
