/** The accounts, workspaces, users and service accounts of the simulated Prefect Cloud. */
import { randomUUID } from 'node:crypto'
import type { Account, Actor, Bot, User, Workspace } from './api/rows.js'
import { DEFAULT_SEED, type DirectorySeed, planDirectory } from './seed.js'

export interface Directory {
  readonly accounts: Map<string, Account>
  readonly workspaces: Map<string, Workspace>
  readonly users: Map<string, User>
  readonly bots: Map<string, Bot>
  /** By handle or id. Throws if there is none: the test asked for something it did not seed. */
  user(handleOrId: string): User
  /** By name or id. Throws if there is none. */
  bot(nameOrId: string): Bot
  /** By `account/workspace` handle or id. Throws if there is none. */
  workspace(handleOrId: string): Workspace
  actor(id: string): Actor | undefined
  /** The actor's workspaces, oldest first. */
  workspacesOf(actor: Actor): Workspace[]
  accountsOf(actor: Actor): Account[]
  addBot(wanted: { readonly accountId: string; readonly name: string; readonly createdAt: number }): Bot
  addWorkspace(wanted: {
    readonly accountId: string
    readonly handle: string
    readonly name: string
    readonly owner: Actor
  }): Workspace
}

/** Builds the directory from a seed; ids missing from the seed are derived from the handles. */
export function createDirectory(seed: DirectorySeed = DEFAULT_SEED): Directory {
  const { accounts, workspaces, users, bots } = planDirectory(seed)

  const workspacesOf = (actor: Actor) =>
    [...workspaces.values()].filter(({ id }) => actor.workspaceIds.has(id))

  return {
    accounts,
    workspaces,
    users,
    bots,
    user: (wanted) => found('user', wanted, users, ({ handle }) => handle),
    bot: (wanted) => found('service account', wanted, bots, ({ name }) => name),
    workspace: (wanted) =>
      found('workspace', wanted, workspaces, ({ accountId, handle }) => {
        return `${accounts.get(accountId)?.handle}/${handle}`
      }),
    actor: (id) => users.get(id) ?? bots.get(id),
    workspacesOf,
    accountsOf: (actor) =>
      [...accounts.values()].filter(({ id }) => {
        return actor.kind === 'bot' ? id === actor.accountId : actor.accountIds.has(id)
      }),
    addBot({ accountId, name, createdAt }) {
      const bot: Bot = {
        kind: 'bot',
        id: randomUUID(),
        actorId: randomUUID(),
        accountId,
        name,
        createdAt,
        // Shared with it one by one, as at Prefect Cloud.
        workspaceIds: new Set(),
      }
      bots.set(bot.id, bot)
      return bot
    },
    addWorkspace({ accountId, handle, name, owner }) {
      const workspace = { id: randomUUID(), accountId, handle, name, description: '' }
      workspaces.set(workspace.id, workspace)
      owner.workspaceIds.add(workspace.id)
      return workspace
    },
  }
}

function found<T extends { readonly id: string }>(
  noun: string,
  wanted: string,
  all: ReadonlyMap<string, T>,
  nameOf: (each: T) => string,
): T {
  const hit = all.get(wanted) ?? [...all.values()].find((each) => nameOf(each) === wanted)
  if (hit === undefined) throw new Error(`the simulator has no ${noun} '${wanted}'`)
  return hit
}
