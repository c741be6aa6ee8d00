/** Profiles: what the file says, what is effective and why, and every change of them. */

import type { FastifyRequest } from 'fastify'
import { BrokerError } from '../base/errors.js'
import type { ApiServer } from '../http/schema.js'
import { workspaceHandle } from '../prefect/cloud.js'
import type { ProfileEntry, ProfileReading } from '../profiles/profile.js'
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
import { renderWorkspaceRef, visibleStates, withoutUserinfo } from './view.js'

export function profileRoutes(api: ApiServer, context: RouteContext): void {
  readingRoutes(api, context)
  changingRoutes(api, context)
  namedChangingRoutes(api, context)
  logoutRoute(api, context)
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
        ...defined({ apiUrl: api_url, authString: secretOf(auth_string) }),
      })
      return reply.code(201).send(changed(context, request, name))
    },
  )
  api.patch(
    '/v1/profiles/:name',
    {
      config: { needs: 'admin', summary: "Change a profile's settings" },
      schema: { params: profileParams, body: patchProfileBody, response: { 200: profileView } },
    },
    async (request, reply) => {
      const { api_url, auth_string } = request.body
      if (api_url === undefined && auth_string === undefined) {
        throw new BrokerError('bad_request', 'the body must set api_url, auth_string or both')
      }
      const authString = auth_string === null ? null : secretOf(auth_string)
      await context.profiles.change(request.params.name, defined({ apiUrl: api_url, authString }))
      return reply.send(changed(context, request, request.params.name))
    },
  )
}

function secretOf(text: string | undefined): Secret | undefined {
  return text === undefined ? undefined : new Secret(text)
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
      config: { needs: 'admin', summary: 'Move the key from the file into the vault' },
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

function logoutRoute(api: ApiServer, { guard, profiles, trail }: RouteContext): void {
  api.post(
    '/v1/profiles/:name/logout',
    {
      config: { needs: 'admin', summary: 'Forget the key of a profile' },
      schema: { params: profileParams, body: logoutBody, response: { 200: logoutAnswer } },
    },
    async (request, reply) => {
      const { name } = request.params
      const { revoke = false, keep_unrevoked: keepUnrevoked = false } = request.body
      const outcome = await profiles.logout(name, { revoke, keepUnrevoked })
      const { forgotten, revoked, notRevoked, share } = outcome
      trail.done(request, guard.callerOf(request), 'logout', { profile: name })
      return reply.send({
        profile: name,
        forgotten: [...forgotten],
        revoked: [...revoked],
        not_revoked: notRevoked.map(({ fingerprint, reason }) => ({ fingerprint, reason })),
        ...defined({ share }),
      })
    },
  )
}

function viewOf({ credentials }: RouteContext, name: string): ProfileView {
  return renderProfile(credentials.state(name), credentials.reading().file.profiles.get(name))
}

/** Audits the change; returns the profile as it is now. */
function changed(context: RouteContext, request: FastifyRequest, name: string): ProfileView {
  context.trail.done(request, context.guard.callerOf(request), 'profile_changed', { profile: name })
  return viewOf(context, name)
}

const HIDDEN = '[secret]'

/** Prefect settings whose values are secrets or may contain one. */
const SECRET_NAMES = /KEY|SECRET|PASSWORD|PASSPHRASE|TOKEN|AUTH|CREDENTIAL|HEADERS|CONNECTION_URL|DSN/

function renderProfile(state: ProfileState, entry: ProfileEntry | undefined): ProfileView {
  const { resolved, outcome } = state
  return {
    name: resolved.name,
    active: resolved.isActive,
    source: resolved.source,
    kind: resolved.kind,
    because: resolved.because,
    ...defined({
      alias_of: resolved.aliasOf,
      api_url: resolved.apiUrl && withoutUserinfo(resolved.apiUrl),
      workspace: renderWorkspaceOf(state),
    }),
    key: state.keySource,
    auth_string: state.authSource,
    login_required: outcome.kind === 'refused' && outcome.error.kind === 'login',
    settings: renderSettings(entry),
    warnings: [...resolved.warnings],
  }
}

export function renderProfilesFile({ path, state, problem, warnings }: ProfileReading): ProfileList['file'] {
  return { path, state, ...defined({ problem, warnings: warnings && [...warnings] }) }
}

/** The workspace that the profile's URL names, with its handle if Prefect has told it. */
export function renderWorkspaceOf({ resolved, workspaces }: ProfileState): WorkspaceRef | undefined {
  const { workspace } = resolved
  if (workspace === undefined) return undefined
  const known = workspaces.find(({ workspaceId }) => workspaceId === workspace.workspaceId)
  return renderWorkspaceRef({ ...workspace, ...defined({ handle: known && workspaceHandle(known) }) })
}

function renderSettings(entry: ProfileEntry | undefined): Record<string, string> {
  const { settings = {}, apiKey, authString } = entry ?? {}
  return {
    ...Object.fromEntries(Object.entries(settings).map(([name, value]) => [name, visible(name, value)])),
    ...defined({
      PREFECT_API_KEY: apiKey && HIDDEN,
      PREFECT_API_AUTH_STRING: authString && HIDDEN,
    }),
  }
}

function visible(name: string, value: string): string {
  return SECRET_NAMES.test(name.toUpperCase()) || /p(?:nu|nb|ab)_/.test(value)
    ? HIDDEN
    : withoutUserinfo(value)
}
