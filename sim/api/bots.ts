/** `/accounts/{id}/bots/`: service accounts and the rotation of their keys. */
import { z } from 'zod'
import type { SimClock } from '../clock.js'
import type { Directory } from '../directory.js'
import type { KeyStore } from '../keys.js'
import { type AuthedRequest, detail, json, noContent, refusal } from '../ui/exchange.js'
import { adminOf } from './accounts.js'
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
}

/** research/prefect.md 2.4. */
export function botRoutes(options: BotRouteOptions): Route<AuthedRequest>[] {
  const { directory, keys } = options
  const at = '/accounts/:accountId/bots'
  return [
    { method: 'POST', path: `${at}/`, run: (request) => create(request, options) },
    { method: 'POST', path: `${at}/filter`, run: (request) => filter(request, options) },
    {
      method: 'GET',
      path: `${at}/:botId`,
      run: (request) => json(200, botJson(botOf(request, directory), keys)),
    },
    {
      method: 'DELETE',
      path: `${at}/:botId`,
      run(request) {
        const bot = botOf(request, directory)
        for (const key of keys.ofOwner(bot.id)) keys.delete(key.id)
        directory.bots.delete(bot.id)
        return noContent()
      },
    },
    { method: 'POST', path: `${at}/:botId/rotate_api_key`, run: (request) => rotate(request, options) },
  ]
}

async function create(request: AuthedRequest, { clock, directory, keys }: BotRouteOptions) {
  const accountId = adminOf(request, directory).id
  const { name, api_key_expiration } = await request.body(WantedBot)
  const expiration = parseExpiration(api_key_expiration)
  const bot = directory.addBot({ accountId, name, createdAt: clock.now() })
  const { text } = keys.issue({ ownerId: bot.id, prefix: 'pnb_', name, ...expiration })
  return json(201, botJson(bot, keys, text))
}

async function filter(request: AuthedRequest, { directory, keys }: BotRouteOptions) {
  const accountId = adminOf(request, directory).id
  const names = (await request.body(Filter)).service_accounts?.name?.any_
  const bots = [...directory.bots.values()].filter((bot) => {
    return bot.accountId === accountId && (names === undefined || names.includes(bot.name))
  })
  return json(
    200,
    bots.map((bot) => botJson(bot, keys)),
  )
}

async function rotate(request: AuthedRequest, { clock, directory, keys }: BotRouteOptions) {
  const bot = botOf(request, directory)
  const { api_key_expiration, old_key_expires_in_seconds } = await request.body(Rotation)
  const expiration = parseExpiration(api_key_expiration)
  for (const key of keys.ofOwner(bot.id)) {
    const end = clock.now() + old_key_expires_in_seconds * 1000
    keys.rejectFrom(key.id, Math.min(end, key.rejectedFrom ?? end))
  }
  const { text } = keys.issue({ ownerId: bot.id, prefix: 'pnb_', name: bot.name, ...expiration })
  return json(201, botJson(bot, keys, text))
}

function botOf(request: AuthedRequest, directory: Directory): Bot {
  const account = adminOf(request, directory)
  const bot = directory.bots.get(request.param('botId'))
  if (bot === undefined || bot.accountId !== account.id)
    throw refusal(detail(404, 'Service account not found'))
  return bot
}

/** `api_key` is the newest one; its text is only in the response that created it. */
function botJson(bot: Bot, keys: KeyStore, text?: string) {
  const newest = keys.ofOwner(bot.id).at(-1)
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
