/** `/accounts/{id}/bots/`: service accounts and the rotation of their keys. */
import { z } from 'zod'
import type { SimClock } from '../clock.js'
import type { Directory } from '../directory.js'
import type { KeyStore } from '../keys.js'
import { type AuthedRequest, detail, json, noContent, refusal } from '../ui/exchange.js'
import { adminOf, memberOf, workspaceOf } from './accounts.js'
import type { Route } from './router.js'
import type { Bot } from './rows.js'
import { keyJson, parseExpiration } from './users.js'

const WantedBot = z.object({ name: z.string().min(1), api_key_expiration: z.string().nullish() })
const Filter = z.object({
  service_accounts: z.object({ name: z.object({ any_: z.array(z.string()) }).optional() }).optional(),
})
const Rotation = z.object({
  api_key_expiration: z.string().nullish(),
  old_key_expires_in_seconds: z.int().min(0).default(0),
})

interface BotRouteOptions {
  readonly clock: SimClock
  readonly directory: Directory
  readonly keys: KeyStore
  /** How old the next answer is, ms. */
  readonly serviceAccountAge: () => number
  readonly keepsOnePrevious: () => boolean
  readonly grantedOverlap: () => number
}

/** A payload or a list of them (TF internal/client/workspace_access.go). */
const Access = z.object({ workspace_role_id: z.string(), bot_id: z.string() })
const Accesses = z.union([z.array(Access), Access.transform((one) => [one])])
const RoleFilter = z.object({
  workspace_roles: z.object({ name: z.object({ any_: z.array(z.string()) }).optional() }).optional(),
})

/** The built-in roles of workspaces (docs/v3/how-to-guides/cloud/manage-users/manage-roles.mdx). Their ids are made up. */
const WORKSPACE_ROLES = ['Viewer', 'Runner', 'Developer', 'Owner', 'Worker'].map((name, index) => ({
  id: `00000000-0000-4000-8000-00000000000${index + 1}`,
  name,
}))

/**
 * research/prefect.md 2.4. Members see service accounts; Owners and Admins create, rotate and delete them, and share workspaces
 * with them (manage-roles.mdx).
 */
export function botRoutes(options: BotRouteOptions): Route<AuthedRequest>[] {
  const { directory } = options
  const at = '/accounts/:accountId/bots'
  return [
    { method: 'POST', path: `${at}/`, run: (request) => create(request, options) },
    { method: 'POST', path: `${at}/filter`, run: (request) => filter(request, options) },
    {
      method: 'GET',
      path: `${at}/:botId`,
      run: (request) => json(200, agedJson(botOf(request, directory, memberOf), options)),
    },
    {
      method: 'DELETE',
      path: `${at}/:botId`,
      run(request) {
        const bot = botOf(request, directory)
        for (const key of options.keys.ofOwner(bot.id)) options.keys.delete(key.id)
        directory.bots.delete(bot.id)
        return noContent()
      },
    },
    { method: 'POST', path: `${at}/:botId/rotate_api_key`, run: (request) => rotate(request, options) },
    {
      method: 'POST',
      path: '/accounts/:accountId/workspaces/:workspaceId/bot_access/',
      run: (request) => share(request, directory),
    },
    {
      method: 'POST',
      path: '/accounts/:accountId/workspace_roles/filter',
      run: (request) => filterRoles(request, directory),
    },
  ]
}

async function create(request: AuthedRequest, { clock, directory, keys }: BotRouteOptions) {
  const accountId = adminOf(request, directory).id
  const { name, api_key_expiration } = await request.body(WantedBot)
  // The name is unique in the account (service-accounts.mdx); the wording of the refusal is inferred.
  if ([...directory.bots.values()].some((bot) => bot.accountId === accountId && bot.name === name)) {
    throw refusal(detail(409, 'A service account with this name already exists.'))
  }
  const expiration = parseExpiration(api_key_expiration)
  const bot = directory.addBot({ accountId, name, createdAt: clock.now() })
  const { text } = keys.issue({ ownerId: bot.id, prefix: 'pnb_', name, ...expiration })
  return json(201, botJson(bot, keys, text))
}

async function filter(request: AuthedRequest, options: BotRouteOptions) {
  const { directory } = options
  const accountId = memberOf(request, directory).id
  const names = (await request.body(Filter)).service_accounts?.name?.any_
  const bots = [...directory.bots.values()].filter((bot) => {
    return bot.accountId === accountId && (names === undefined || names.includes(bot.name))
  })
  return json(
    200,
    bots.map((bot) => agedJson(bot, options)),
  )
}

async function rotate(request: AuthedRequest, options: BotRouteOptions) {
  const { clock, directory, keys, keepsOnePrevious, grantedOverlap } = options
  const bot = botOf(request, directory)
  const { api_key_expiration, old_key_expires_in_seconds } = await request.body(Rotation)
  const expiration = parseExpiration(api_key_expiration)
  const now = clock.now()
  const all = keys.ofOwner(bot.id)
  for (const key of all) {
    const isEnded = keepsOnePrevious() && key !== all.at(-1)
    const end = isEnded ? now : now + old_key_expires_in_seconds * 1000 * grantedOverlap()
    keys.rejectFrom(key.id, Math.min(end, key.rejectedFrom ?? end))
  }
  const { text } = keys.issue({ ownerId: bot.id, prefix: 'pnb_', name: bot.name, ...expiration })
  return json(201, botJson(bot, keys, text))
}

async function share(request: AuthedRequest, directory: Directory) {
  adminOf(request, directory)
  const workspace = workspaceOf(request, directory)
  const accesses = (await request.body(Accesses)).map((access) => {
    const bot = directory.bots.get(access.bot_id)
    if (bot?.accountId !== workspace.accountId) throw refusal(detail(404, 'Service account not found'))
    if (!WORKSPACE_ROLES.some(({ id }) => id === access.workspace_role_id)) {
      throw refusal(detail(404, 'Workspace role not found'))
    }
    return { access, bot }
  })
  for (const { bot } of accesses) bot.workspaceIds.add(workspace.id)
  return json(
    200,
    accesses.map(({ access, bot }) => ({
      id: `${bot.id.slice(0, 24)}${workspace.id.slice(24)}`,
      workspace_id: workspace.id,
      actor_id: bot.actorId,
      user_id: null,
      ...access,
    })),
  )
}

async function filterRoles(request: AuthedRequest, directory: Directory) {
  memberOf(request, directory)
  const names = (await request.body(RoleFilter)).workspace_roles?.name?.any_
  const found = WORKSPACE_ROLES.filter(({ name }) => names === undefined || names.includes(name))
  return json(
    200,
    found.map((role) => ({
      ...role,
      description: null,
      scopes: [],
      account_id: null,
      inherited_role_id: null,
    })),
  )
}

function botOf(request: AuthedRequest, directory: Directory, accountOf = adminOf): Bot {
  const account = accountOf(request, directory)
  const bot = directory.bots.get(request.param('botId'))
  if (bot === undefined || bot.accountId !== account.id)
    throw refusal(detail(404, 'Service account not found'))
  return bot
}

/** As the service account was a while ago, if the answers are to be old. */
function agedJson(bot: Bot, { clock, keys, serviceAccountAge }: BotRouteOptions) {
  const then = clock.now() - serviceAccountAge()
  const all = keys.ofOwner(bot.id)
  return botJson(bot, keys, undefined, all.filter(({ createdAt }) => createdAt <= then).at(-1) ?? all[0])
}

/** `api_key` is the newest one; its text is only in the response that created it. */
function botJson(bot: Bot, keys: KeyStore, text?: string, newest = keys.ofOwner(bot.id).at(-1)) {
  return {
    id: bot.id,
    actor_id: bot.actorId,
    account_id: bot.accountId,
    created: new Date(bot.createdAt).toISOString(),
    name: bot.name,
    account_role_name: 'Member',
    api_key:
      newest === undefined ? null : { ...keyJson(newest), ...(text === undefined ? {} : { key: text }) },
  }
}
