/** What a system's manager of services can do for us: the same words for systemd and launchd. */
import type { Surroundings } from '../../config/paths.js'
import type { ServiceFile } from './files.js'
import type { RunTool } from './manager.js'
import type { ServiceFacts, Template } from './plan.js'

export interface ServiceState {
  /**
   * `waiting`: the socket is open, the next request starts the daemon. `unreachable`: this session has no manager, so that
   * nothing is known.
   */
  readonly state: 'not_installed' | 'running' | 'waiting' | 'stopped' | 'failed' | 'unreachable'
  readonly pid?: number
  readonly startsAtLogin: boolean
  /** Whether the daemon is started once an hour, should it be away; absent where there is no such thing. */
  readonly isWoken?: boolean
  /** Absent where it can't be asked, or means nothing. */
  readonly lingers?: boolean
  /** Whether loopback TCP is opened by the system; absent where it is not wanted. */
  readonly tcp?: 'active' | 'failed'
  /** Why it is `failed` or `unreachable`. */
  readonly problem?: string
}

export interface ServiceManager {
  /** `systemd user service`, `launchd agent` */
  readonly name: string
  /** How to follow the log, beside `prefect-auth logs -f`. */
  readonly log: string | undefined
  plan(facts: ServiceFacts): readonly ServiceFile[]
  state(): Promise<ServiceState>
  /**
   * Makes it so: files, start at login, running with what is on the disk now. `isStale`: what runs is of another version.
   * Answers the files that were written. Does not wait for the daemon.
   */
  install(facts: ServiceFacts, isStale: boolean): Promise<readonly ServiceFile[]>
  /** Answers the files that were removed. */
  uninstall(): Promise<readonly string[]>
}

export interface ManagerDeps {
  readonly run: RunTool
  readonly template: Template
  readonly terminal: Surroundings
}
