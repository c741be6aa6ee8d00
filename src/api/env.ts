/** Variables for a process: the credentials (GET), or the way through the proxy for a job (POST). */

import { BrokerError } from '../base/errors.js'
import type { ApiServer } from '../http/schema.js'
import { renderRemovals, renderShell } from '../http/shell.js'
import { shownName } from '../profiles/bundled.js'
import type { ResolvedProfile } from '../profiles/profile.js'
import { notesThroughProxy } from '../profiles/warnings.js'
import { planProxyEnv } from '../proxy/env.js'
import type { Served } from '../serve/credentials.js'
import { defined } from '../std/defined.js'
import { cleanText, quoteWord } from '../std/text.js'
import type { ListenerFacts } from '../tokens/access.js'
import { envQuery, proxyEnvBody } from '../wire/credentials.js'
import { JOB_MARK, wholeEnv } from '../wire/env-names.js'
import { isNameable, readsOurFile } from './callers-file.js'
import type { RouteContext } from './context.js'
import { renderEnv, renderNotes, requirePair, variablesType } from './hand-out.js'
import { limitsOf } from './policies.js'

export function envRoutes(api: ApiServer, context: RouteContext): void {
  directRoute(api, context)
  proxyRoute(api, context)
}

function directRoute(api: ApiServer, { guard, handOut }: RouteContext): void {
  api.get(
    '/v1/env',
    {
      config: {
        needs: 'use',
        summary: 'The current credentials as variables, quoted for a shell',
        produces: 'text/plain',
      },
      schema: { querystring: envQuery },
    },
    async (request, reply) => {
      const body = await handOut.variables(request, guard.callerOf(request), request.query)
      return reply.type(variablesType(request.query.format)).send(body)
    },
  )
}

function proxyRoute(api: ApiServer, context: RouteContext): void {
  const { credentials, findPeer, guard, inspection, tokens, trail } = context
  api.post(
    '/v1/env',
    {
      config: {
        needs: 'admin',
        summary: 'Variables for one job through the proxy, with a token of its own',
        produces: 'text/plain',
      },
      schema: { body: proxyEnvBody },
    },
    async (request, reply) => {
      const {
        profile,
        format,
        name,
        pid,
        environment,
        agent,
        no_proxy: noProxy,
        no_proxy_small: small,
      } = request.body
      const limits = limitsOf(request.body, context.proxyAllow)
      requireUnshared(environment, { ...limits, ...defined({ agent }) })
      const { custom_headers: variable, headers_in_files: inFiles, ui_url: uiUrl } = request.body
      const address = tcpAddress(inspection.status().listeners)
      await credentials.refresh()
      const isOurFile = await readsOurFile(request, credentials.reading().path)
      // Throws if there is nothing to serve: a job that could only wait had better not start.
      const served = requirePair(credentials.serve(profile))
      const { resolved } = credentials.state(profile)
      requireWorkspace(resolved)
      const wanted = {
        name,
        profile: served.profile,
        needsTicket: resolved.kind === 'server',
        ...defined({ workspace: resolved.workspace }),
      }
      // What cannot be seen of us now could not be seen of the agent, and would be refused to everybody.
      const isAgent = agent === true && ((await findPeer(request.raw.socket))?.chain.length ?? 0) > 0
      const { facts, token, ticket, isDurable, isNew } =
        environment === undefined
          ? {
              ...(await tokens.createForJob({ ...wanted, ...limits, isAgent, ...defined({ pid }) })),
              isNew: true,
            }
          : await tokens.shareInEnvironment({ ...wanted, environment })
      const isChosen = profile !== undefined && isNameable(resolved, isOurFile)
      const env = wholeEnv({
        ...planProxyEnv({
          address,
          resolved,
          token,
          headers: defined({ variable, inFiles }),
          ...defined({ ticket, noProxy, smallNoProxy: small, uiUrl }),
        }),
        ...defined({
          PREFECT_PROFILE: isChosen ? resolved.name : undefined,
          // Of one job alone: an environment is shared by what the owner types and what runs by itself.
          [JOB_MARK]: environment === undefined ? facts.id : undefined,
        }),
      })
      const caller = { ...guard.callerOf(request), token: { ...facts, power: 'proxy' as const } }
      trail.given(request, caller, isNew ? 'token_created' : 'env', { profile: served.profile })
      const notes = notesThroughProxy(resolved.notes)
      const notice = isDurable ? undefined : NOT_DURABLE
      const body =
        format === 'json'
          ? `${JSON.stringify({ profile: served.profile, env, notes, replaces: replacedBy(served, request.body.secrets), ...defined({ notice, is_watched: agent && isAgent }) })}\n`
          : `${renderRemovals(format)}${renderShell(format, env, env)}${renderNotes(notes)}`
      if (notice !== undefined) reply.header('prefect-auth-notice', notice)
      return reply.type(variablesType(format)).send(body)
    },
  )
}

/** Throws `bad_request`: all processes of an environment share one token, whichever of them asked for it first. */
function requireUnshared(environment: string | undefined, limits: object): void {
  if (environment === undefined || Object.keys(limits).length === 0) return
  throw new BrokerError(
    'bad_request',
    'the token of a Python environment has no policy, no budget, and asks no questions',
  )
}

/** What `env` without the proxy sets for this profile: in the caller's environment it is ours, and nothing foreign. */
function replacedBy(served: Served, secrets: Readonly<Record<string, string | undefined>> = {}) {
  const env: Readonly<Record<string, string | undefined>> = wholeEnv(renderEnv(served))
  const { PREFECT_API_URL, PREFECT_CLOUD_API_URL, PREFECT_CLOUD_UI_URL } = env
  // Compared here, because a fingerprint of a password is none that another process can make.
  const ours = Object.keys(secrets).filter((name) => secrets[name] === env[name])
  return { ...defined({ PREFECT_API_URL, PREFECT_CLOUD_API_URL, PREFECT_CLOUD_UI_URL }), ours }
}

const NOT_DURABLE =
  'the state disk cannot be written, so the token of this job ends with the daemon; run: prefect-auth doctor'

/** Throws `tcp_unavailable`. */
function tcpAddress(listeners: readonly ListenerFacts[]): string {
  const tcp = listeners.find(({ door }) => door === 'tcp')
  if (tcp?.state === 'listening') return tcp.address
  const why = tcp?.problem ?? 'it is switched off'
  throw new BrokerError('tcp_unavailable', `the proxy needs the TCP listener: ${why}`, {
    hint: 'start the daemon on any free port: PREFECT_AUTH_PORT=0 prefect-authd',
  })
}

/** Throws `workspace_required`: outside a workspace, the proxy answers little more than which ones there are. */
function requireWorkspace({ kind, name, workspace }: ResolvedProfile): void {
  if (kind !== 'cloud' || workspace !== undefined) return
  throw new BrokerError(
    'workspace_required',
    `PREFECT_API_URL of profile ${shownName(name)} names no workspace, and the proxy lets a job into no other`,
    { hint: `prefect-auth workspace set --profile ${quoteWord(cleanText(name))}` },
  )
}
