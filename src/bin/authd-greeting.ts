/** What the daemon says to a person who starts it, and its help. Pure text. */
import { join } from 'node:path'
import { flagName, type SETTINGS, variableName } from '../config/settings.js'
import type { StatusSnapshot } from '../status/status.js'

/** Under systemd and launchd stderr is the log; in a terminal it would drown the greeting. */
export function loggedTo(isTerminal: boolean, stateDir: string): string | undefined {
  return isTerminal ? join(stateDir, 'authd.log') : undefined
}

/** Five lines: where it listens, where it keeps things, which vault and why, whom it serves, what to type next. */
export function greeting(
  { daemon, listeners, vault, reading, profiles, active }: StatusSnapshot,
  log: string | undefined,
): string {
  const state = profiles.find(({ resolved }) => resolved.name === active)
  const next =
    state?.outcome.kind === 'served' && state.resolved.kind !== 'none'
      ? 'prefect-auth status   ·   eval "$(prefect-auth env)"   ·   prefect-auth exec -- CMD'
      : 'prefect-auth login'
  return [
    `prefect-authd ${daemon.version} listens on ${listeners.map(sayListener).join(', ')}`,
    `state in ${daemon.stateDir}, profiles in ${reading.path}${log === undefined ? '' : `, log in ${log}`}`,
    `vault: ${vault.backend}, at rest: ${vault.atRest} (${vault.because})`,
    `active profile: ${active}${state ? ` (${state.resolved.because})` : ''}`,
    `next, in another terminal: ${next}`,
    '',
  ].join('\n')
}

function sayListener({ door, address, state, problem }: StatusSnapshot['listeners'][number]): string {
  if (state === 'listening') return address
  return door === 'tcp' && state === 'off' ? 'no TCP port' : (problem ?? address)
}

/** `--help`, made of the settings themselves. */
export function helpText(settings: typeof SETTINGS): string {
  const rows = Object.entries(settings).map(([name, { meaning, default: fallback }]) => {
    const value = fallback === undefined ? 'unset' : Array.isArray(fallback) ? '[]' : String(fallback)
    return `  --${flagName(name)}=…\n      ${meaning} (default ${value}; config.toml: ${name}; ${variableName(name)})`
  })
  return [
    'usage: prefect-authd [--SETTING=VALUE]…',
    '',
    'Runs in the foreground until SIGTERM. Settings: flags, then environment, then config.toml, then defaults.',
    '',
    ...rows,
    '',
    'Paths, by environment only: PREFECT_AUTH_CONFIG, PREFECT_AUTH_STATE_DIR, PREFECT_AUTH_SOCKET',
    '',
  ].join('\n')
}
