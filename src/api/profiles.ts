/** `/v1/profiles`: what the profile file says, what is effective, and every change of it. */

import type { FastifyRequest } from 'fastify'
import { BrokerError } from '../base/errors.js'
import type { ApiServer } from '../http/schema.js'
import { workspaceHandle } from '../prefect/cloud.js'
import type { ProfileEntry, ProfileReading, ResolvedProfile } from '../profiles/profile.js'
import type { ProfileState } from '../serve/credentials.js'
import { defined } from '../std/defined.js'
import { Secret } from '../std/secret.js'
import { empty, type WorkspaceRef } from '../wire/common.js'
import { logoutAnswer, logoutBody } from '../wire/login.js'
import {
  adoptAnswer,
  createProfileBody,
  type ProfileList,
  type ProfileView,
  patchProfileBody,
  profileList,
  profileParams,
  profileView,
  renameProfileBody,
  useProfileBody,
} from '../wire/profile.js'
import type { RouteContext } from './context.js'
import { visibleStates } from './scope.js'

export function profileRoutes(api: ApiServer, context: RouteContext): void {
  readingRoutes(api, context)
  changingRoutes(api, context)
  namedChangingRoutes(api, context)
}

function readingRoutes(api: ApiServer, context: RouteContext): void {
  const { credentials, guard, inspection } = context
  api.get(
    '/v1/profiles',
    { config: { needs: 'inspect', summary: 'All profiles' }, schema: { response: { 200: profileList } } },
    async (request, reply) => {
      await credentials.refresh()
      const reading = credentials.reading()
      return reply.send({
        file: renderProfilesFile(reading),
        active: inspection.status().active,
        profiles: visibleStates(guard.callerOf(request), credentials).map((state) =>
          renderProfile(state, reading.file.profiles.get(state.resolved.name)),
        ),
      })
    },
  )
  api.get(
    '/v1/profiles/:name',
    {
      config: { needs: 'inspect', summary: 'One profile' },
      schema: { params: profileParams, response: { 200: profileView } },
    },
    async (request, reply) => {
      await credentials.refresh()
      return reply.send(viewOf(context, request.params.name))
    },
  )
}

function changingRoutes(api: ApiServer, context: RouteContext): void {
  api.put(
    '/v1/profiles/active',
    {
      config: { needs: 'admin', summary: 'Make a profile the active one' },
      schema: { body: useProfileBody, response: { 200: profileView } },
    },
    async (request, reply) => {
      const { name } = request.body
      await context.profiles.use(name)
      return reply.send(changed(context, request, name))
    },
  )
  api.post(
    '/v1/profiles',
    {
      config: { needs: 'admin', summary: 'Create a profile' },
      schema: { body: createProfileBody, response: { 201: profileView } },
    },
    async (request, reply) => {
      const { name, api_url, auth_string } = request.body
      await context.profiles.create({
        name,
        ...defined({ apiUrl: api_url }),
        ...(auth_string === undefined ? {} : { authString: new Secret(auth_string) }),
      })
      return reply.code(201).send(changed(context, request, name))
    },
  )
  api.patch(
    '/v1/profiles/:name',
    {
      config: { needs: 'admin', summary: 'Change what a profile says' },
      schema: { params: profileParams, body: patchProfileBody, response: { 200: profileView } },
    },
    async (request, reply) => {
      const { api_url, auth_string } = request.body
      if (api_url === undefined && auth_string === undefined) {
        throw new BrokerError('bad_request', 'the body must name what to change: api_url or auth_string')
      }
      await context.profiles.change(request.params.name, {
        ...defined({ apiUrl: api_url }),
        ...(auth_string === undefined
          ? {}
          : { authString: auth_string === null ? null : new Secret(auth_string) }),
      })
      return reply.send(changed(context, request, request.params.name))
    },
  )
}

function namedChangingRoutes(api: ApiServer, context: RouteContext): void {
  const { guard, profiles, trail } = context
  api.delete(
    '/v1/profiles/:name',
    {
      config: { needs: 'admin', summary: 'Delete a profile' },
      schema: { params: profileParams, response: { 200: empty } },
    },
    async (request, reply) => {
      const { name } = request.params
      await profiles.delete(name)
      trail.done(request, guard.callerOf(request), 'profile_changed', { profile: name })
      return reply.send({})
    },
  )
  api.post(
    '/v1/profiles/:name/rename',
    {
      config: { needs: 'admin', summary: 'Rename a profile' },
      schema: { params: profileParams, body: renameProfileBody, response: { 200: profileView } },
    },
    async (request, reply) => {
      await profiles.rename(request.params.name, request.body.to)
      return reply.send(changed(context, request, request.body.to))
    },
  )
  api.post(
    '/v1/profiles/:name/adopt',
    {
      config: { needs: 'admin', summary: 'Move the key in the file into the vault' },
      schema: { params: profileParams, response: { 200: adoptAnswer } },
    },
    async (request, reply) => {
      const { name } = request.params
      const { fingerprint, message } = await profiles.adopt(name)
      trail.done(request, guard.callerOf(request), 'adopt', { profile: name, fingerprint })
      return reply.send({ profile: name, fingerprint, message })
    },
  )
}

function viewOf({ credentials }: RouteContext, name: string): ProfileView {
  return renderProfile(credentials.state(name), credentials.reading().file.profiles.get(name))
}

/** Notes the change, and answers how the profile stands after it. */
function changed(context: RouteContext, request: FastifyRequest, name: string): ProfileView {
  context.trail.done(request, context.guard.callerOf(request), 'profile_changed', { profile: name })
  return viewOf(context, name)
}

const HIDDEN = '[secret]'

/** Settings of Prefect whose values are, or may hold, a secret. */
const SECRET_NAMES = /KEY|SECRET|PASSWORD|PASSPHRASE|TOKEN|AUTH|CREDENTIAL|HEADERS|CONNECTION_URL|DSN/

function renderProfile(state: ProfileState, entry: ProfileEntry | undefined): ProfileView {
  const { resolved, outcome } = state
  return {
    name: resolved.name,
    active: resolved.isActive,
    source: resolved.source,
    kind: resolved.kind,
    because: resolved.because,
    ...(resolved.apiUrl === undefined ? {} : { api_url: withoutUserinfo(resolved.apiUrl) }),
    ...renderWorkspaceOf(state),
    key: state.keySource,
    auth_string: state.authSource,
    login_required: outcome.kind === 'refused' && outcome.error.kind === 'login',
    settings: renderSettings(entry),
    warnings: [...resolved.warnings],
  }
}

export function renderProfilesFile({ path, state, problem }: ProfileReading): ProfileList['file'] {
  return { path, state, ...defined({ problem }) }
}

/** The workspace with its name, where Prefect has told it. */
export function renderWorkspaceOf(state: ProfileState): { readonly workspace?: WorkspaceRef } {
  const named = state.resolved.workspace
  if (named === undefined) return {}
  const known = state.workspaces.find(({ workspaceId }) => workspaceId === named.workspaceId)
  return {
    workspace: {
      ...(known === undefined ? {} : { handle: workspaceHandle(known) }),
      account_id: named.accountId,
      workspace_id: named.workspaceId,
    },
  }
}

/** `http://user:password@host/api` is a URL that people write; the two stay inside. */
export function withoutUserinfo(url: ResolvedProfile['cloudApiUrl']): string {
  return url.replace(/^([a-z][a-z0-9+.-]*:\/\/)[^/?#]*@/i, `$1${HIDDEN}@`)
}

function renderSettings(entry: ProfileEntry | undefined): Record<string, string> {
  const settings = Object.entries(entry?.settings ?? {}).map(([name, value]) => [name, visible(name, value)])
  const secrets = [
    ...(entry?.apiKey === undefined ? [] : [['PREFECT_API_KEY', HIDDEN]]),
    ...(entry?.authString === undefined ? [] : [['PREFECT_API_AUTH_STRING', HIDDEN]]),
  ]
  return Object.fromEntries([...settings, ...secrets])
}

function visible(name: string, value: string): string {
  return SECRET_NAMES.test(name.toUpperCase()) || /p(?:nu|nb|ab)_/.test(value)
    ? HIDDEN
    : withoutUserinfo(value)
}

export function logoutRoutes(api: ApiServer, { guard, profiles, trail }: RouteContext): void {
  api.post(
    '/v1/profiles/:name/logout',
    {
      config: { needs: 'admin', summary: 'Forget the key of a profile' },
      schema: { params: profileParams, body: logoutBody, response: { 200: logoutAnswer } },
    },
    async (request, reply) => {
      const { name } = request.params
      const { revoke = false } = request.body
      const { forgotten, revoked, notRevoked } = await profiles.logout(name, { revoke })
      trail.done(request, guard.callerOf(request), 'logout', { profile: name })
      return reply.send({
        profile: name,
        forgotten: [...forgotten],
        revoked: [...revoked],
        not_revoked: notRevoked.map(({ fingerprint, reason }) => ({ fingerprint, reason })),
      })
    },
  )
}
