/** Who may ask for what: four powers, callers, and one decision. The default is no. */
import { BrokerError } from '../base/errors.js'

export const POWERS = ['inspect', 'proxy', 'use', 'admin'] as const
export type Power = (typeof POWERS)[number]

/** By which door a caller came. `socket` is the owner's; the other two need a token. */
export type Door = 'socket' | 'restricted' | 'tcp'

/** A caller after the guard. `token` is absent for the owner on the main socket. */
export interface Caller {
  readonly door: Door
  readonly token?: {
    readonly id: string
    readonly name: string
    readonly power: Exclude<Power, 'admin'>
    /** Profile names; `*` for all. */
    readonly profiles: readonly string[]
  }
}

/** `use` includes `proxy` and `inspect`; `proxy` and `inspect` include nothing else. */
const GRANTS: Readonly<Record<Exclude<Power, 'admin'>, readonly Power[]>> = {
  inspect: ['inspect'],
  proxy: ['proxy'],
  use: ['use', 'proxy', 'inspect'],
}

/** Whether the caller has the power at all, profiles aside. */
export function hasPower(caller: Caller, power: Power): boolean {
  if (caller.token === undefined) return caller.door === 'socket'
  return GRANTS[caller.token.power].includes(power)
}

/** Throws `power_missing` where the caller lacks the power. */
export function requirePower(caller: Caller, power: Power): void {
  if (hasPower(caller, power)) return
  throw new BrokerError('power_missing', `this needs the power '${power}', which the caller does not have`, {
    hint:
      power === 'admin'
        ? 'ask over the unix socket; tokens never have the power admin'
        : `prefect-auth token create --name NAME --power ${power}`,
  })
}

/** Whether the caller may see or use this profile. */
export function reachesProfile(caller: Caller, profile: string): boolean {
  if (caller.token === undefined) return caller.door === 'socket'
  return caller.token.profiles.includes('*') || caller.token.profiles.includes(profile)
}

/** Throws `profile_not_allowed` where the caller's token is for other profiles. */
export function requireProfile(caller: Caller, profile: string): void {
  if (reachesProfile(caller, profile)) return
  throw new BrokerError('profile_not_allowed', 'this token is not for that profile', {
    hint: 'prefect-auth token create --name NAME --profile PROFILE',
  })
}
export interface ListenerFacts {
  readonly door: 'socket' | 'restricted' | 'tcp'
  readonly address: string
  readonly state: 'listening' | 'off' | 'failed'
  readonly problem?: string
  /** The system opened it, and keeps it while we are away. */
  readonly inherited?: true
}
