/** Who may ask for what: listeners, callers and their powers. Everything that is not granted is denied. */

import { BrokerError } from '../base/errors.js'

export const POWERS = ['inspect', 'proxy', 'use', 'admin'] as const
export type Power = (typeof POWERS)[number]
export type TokenPower = Exclude<Power, 'admin'>

/** The listener a caller came through. `socket` is the owner's, `page` that of the owner's browser; the others need a token. */
export type Door = 'socket' | 'restricted' | 'tcp' | 'page'

export interface ListenerFacts {
  readonly door: Exclude<Door, 'page'>
  readonly address: string
  readonly state: 'listening' | 'off' | 'failed'
  readonly problem?: string
  /** A command against the problem. */
  readonly remedy?: string
  /** The service manager opened it, and keeps it open while the daemon is not running. */
  readonly inherited?: true
  /** Another user's program has the port. */
  readonly isForeign?: true
}

/** A caller that the guard let in. `token` is absent for the owner on the main socket. */
export interface Caller {
  readonly door: Door
  readonly token?: {
    readonly id: string
    readonly name: string
    readonly power: TokenPower
    /** Profile names; `*` for all. */
    readonly profiles: readonly string[]
  }
  /** The token of the agent that it was refused for: it came from inside of it. */
  readonly inside?: { readonly id: string; readonly name: string }
}

const GRANTS: Readonly<Record<TokenPower, readonly Power[]>> = {
  inspect: ['inspect'],
  proxy: ['proxy'],
  use: ['use', 'proxy', 'inspect'],
}

/** The owner, on the main socket or in the page: there, the guard has looked which routes are for the page at all. */
function isOwner({ door }: Caller): boolean {
  return door === 'socket' || door === 'page'
}

/** Whether the caller has the power, for whichever profiles. */
export function hasPower(caller: Caller, power: Power): boolean {
  if (caller.token === undefined) return isOwner(caller)
  return GRANTS[caller.token.power].includes(power)
}

/** Throws `power_missing` if the caller lacks the power. */
export function requirePower(caller: Caller, power: Power): void {
  if (hasPower(caller, power)) return
  throw new BrokerError('power_missing', `this requires the power '${power}', which the caller lacks`, {
    hint:
      power === 'admin'
        ? 'use the unix socket; a token never has the power admin'
        : `prefect-auth token create --name NAME --power ${power}`,
  })
}

/** Whether the caller may see or use this profile. */
export function reachesProfile(caller: Caller, profile: string): boolean {
  if (caller.token === undefined) return isOwner(caller)
  return caller.token.profiles.includes('*') || caller.token.profiles.includes(profile)
}

/** Throws `profile_not_allowed` if the caller may not use this profile. */
export function requireProfile(caller: Caller, profile: string): void {
  if (reachesProfile(caller, profile)) return
  throw new BrokerError('profile_not_allowed', 'this token is not valid for that profile', {
    hint: 'prefect-auth token create --name NAME --profile PROFILE',
  })
}
