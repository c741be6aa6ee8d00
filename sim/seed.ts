/** The accounts, workspaces and users a simulator starts with: short form and expansion. */
import { createHash } from 'node:crypto'
import { type Account, type Bot, idsOfAccount, type User, type Workspace } from './api/rows.js'

interface AccountSeed {
  readonly handle: string
  readonly name?: string
  readonly id?: string
  /** Handles, or a count: `500` makes `workspace-1` … `workspace-500`. Default `['default']`. */
  readonly workspaces?: number | readonly (string | WorkspaceSeed)[]
}

interface WorkspaceSeed {
  readonly handle: string
  readonly name?: string
  readonly id?: string
  readonly description?: string
}

interface UserSeed {
  readonly handle: string
  readonly id?: string
  readonly email?: string
  readonly firstName?: string
  readonly lastName?: string
  /** Default true. */
  readonly admin?: boolean
  /** Handles of the accounts it belongs to; default: all. */
  readonly accounts?: readonly string[]
  /** `account/workspace` handles it is a member of; default: all of its accounts. */
  readonly workspaces?: readonly string[]
}

interface BotSeed {
  readonly name: string
  readonly account: string
  readonly id?: string
  /** Default: all of its account. */
  readonly workspaces?: readonly string[]
}

export interface DirectorySeed {
  readonly accounts?: readonly AccountSeed[]
  readonly users?: readonly UserSeed[]
  readonly bots?: readonly BotSeed[]
}

/** User terry with one workspace, `prefect/terry`. */
export const DEFAULT_SEED = {
  accounts: [{ handle: 'prefect', name: 'Prefect', workspaces: ['terry'] }],
  users: [{ handle: 'terry', email: 'terry@example.com', firstName: 'Terry', lastName: 'Example' }],
} as const satisfies DirectorySeed

interface DirectoryPlan {
  readonly accounts: Map<string, Account>
  readonly workspaces: Map<string, Workspace>
  readonly users: Map<string, User>
  readonly bots: Map<string, Bot>
}

/** Expands a seed into rows. `DEFAULT_SEED` supplies what the seed omits. */
export function planDirectory(seed: DirectorySeed): DirectoryPlan {
  const accountSeeds: readonly AccountSeed[] = seed.accounts ?? DEFAULT_SEED.accounts
  const userSeeds: readonly UserSeed[] = seed.users ?? DEFAULT_SEED.users
  const accounts = byId(accountSeeds.map(toAccount))
  const workspaces = byId(accountSeeds.flatMap(toWorkspaces))

  const members = membership(accounts, workspaces)
  return {
    accounts,
    workspaces,
    users: byId(userSeeds.map((user) => toUser(user, members(user.accounts, user.workspaces)))),
    bots: byId((seed.bots ?? []).map((bot) => toBot(bot, members([bot.account], bot.workspaces)))),
  }
}

interface Membership {
  readonly accountIds: Set<string>
  readonly workspaceIds: Set<string>
}

/** Maps handles to ids; throws if one is not in the seed. */
function membership(accounts: ReadonlyMap<string, Account>, workspaces: ReadonlyMap<string, Workspace>) {
  const accountIds = new Map([...accounts.values()].map(({ id, handle }) => [handle, id]))
  const workspaceIds = new Map(
    [...workspaces.values()].map(({ id, accountId, handle }) => {
      return [`${accounts.get(accountId)?.handle}/${handle}`, id]
    }),
  )
  return (
    accountHandles: readonly string[] = [...accountIds.keys()],
    workspaceHandles?: readonly string[],
  ): Membership => {
    const own = accountHandles.map((handle) => accountIds.get(handle) ?? unknownIn('accounts', handle))
    return {
      accountIds: new Set(own),
      workspaceIds: new Set(
        workspaceHandles?.map((handle) => workspaceIds.get(handle) ?? unknownIn('workspaces', handle)) ??
          own.flatMap((id) => idsOfAccount(workspaces, id)),
      ),
    }
  }
}

function toAccount({ handle, id, name = handle }: AccountSeed): Account {
  return { id: id ?? uuidOf(`account ${handle}`), handle, name }
}

function toWorkspaces(account: AccountSeed): Workspace[] {
  const { workspaces = ['default'], handle: accountHandle } = account
  const wanted =
    typeof workspaces === 'number'
      ? Array.from({ length: workspaces }, (_, index) => `workspace-${index + 1}`)
      : workspaces
  return wanted.map((each) => {
    const {
      handle,
      name = handle,
      id,
      description = '',
    }: WorkspaceSeed = typeof each === 'string' ? { handle: each } : each
    return {
      id: id ?? uuidOf(`workspace ${accountHandle}/${handle}`),
      accountId: toAccount(account).id,
      handle,
      name,
      description,
    }
  })
}

function toUser(seed: UserSeed, members: Membership): User {
  const { handle } = seed
  return {
    kind: 'user',
    id: seed.id ?? uuidOf(`user ${handle}`),
    actorId: uuidOf(`actor ${handle}`),
    handle,
    email: seed.email ?? `${handle}@example.com`,
    firstName: seed.firstName ?? handle,
    lastName: seed.lastName ?? 'Example',
    admin: seed.admin ?? true,
    ...members,
  }
}

function toBot({ id, name, account }: BotSeed, { accountIds, workspaceIds }: Membership): Bot {
  const [accountId = unknownIn('accounts', account)] = accountIds
  return {
    kind: 'bot',
    id: id ?? uuidOf(`bot ${name}`),
    actorId: uuidOf(`bot actor ${name}`),
    accountId,
    name,
    createdAt: 0,
    workspaceIds,
  }
}

/** Returns the same lower-case UUID for the same name, so that failures can be compared. */
function uuidOf(name: string): string {
  const hex = createHash('sha256').update(name).digest('hex')
  const variant = '89ab'[Number.parseInt(hex.charAt(16), 16) % 4]
  return [
    hex.slice(0, 8),
    hex.slice(8, 12),
    `4${hex.slice(13, 16)}`,
    `${variant}${hex.slice(17, 20)}`,
    hex.slice(20, 32),
  ].join('-')
}

function byId<T extends { readonly id: string }>(rows: readonly T[]): Map<string, T> {
  return new Map(rows.map((row) => [row.id, row]))
}

function unknownIn(list: string, handle: string): never {
  throw new Error(`the seed names '${handle}', which is not in its ${list}`)
}
