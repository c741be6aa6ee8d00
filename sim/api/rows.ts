/** The records of the simulated Prefect Cloud: accounts, workspaces, users and service accounts. */

export interface Account {
  readonly id: string
  readonly handle: string
  readonly name: string
}

export interface Workspace {
  readonly id: string
  readonly accountId: string
  readonly handle: string
  readonly name: string
  readonly description: string
}

export interface User {
  readonly kind: 'user'
  readonly id: string
  readonly actorId: string
  readonly handle: string
  readonly email: string
  readonly firstName: string
  readonly lastName: string
  /** May manage service accounts and workspaces of its accounts. */
  readonly admin: boolean
  readonly accountIds: Set<string>
  /** Ids of the workspaces it is a member of. */
  readonly workspaceIds: Set<string>
}

/** A service account; Prefect's API calls it a bot. */
export interface Bot {
  readonly kind: 'bot'
  readonly id: string
  readonly actorId: string
  readonly accountId: string
  name: string
  readonly createdAt: number
  readonly workspaceIds: Set<string>
}

export type Actor = User | Bot

/** Ids of an account's workspaces. */
export function idsOfAccount(workspaces: ReadonlyMap<string, Workspace>, accountId: string): string[] {
  return [...workspaces.values()].filter((each) => each.accountId === accountId).map(({ id }) => id)
}
