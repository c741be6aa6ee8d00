/** Pure: the files of the service, from facts and templates. */
import { basename, dirname, join } from 'node:path'
import type { ServiceFile } from './files.js'
import { fillTemplate, unitItem, unitLine, unitWord, xmlText } from './fill-template.js'
import { LABEL, SERVICE, type ServicePlaces, SOCKET, TCP_SOCKET, TIMER, WAKE } from './places.js'
import { type LauncherFacts, renderLauncher } from './templates.js'

export interface ServiceFacts {
  readonly places: ServicePlaces
  readonly launch: LauncherFacts
  /** What the service has to know of the caller's environment. */
  readonly env: Readonly<Record<string, string>>
  readonly port: number | 'off'
  /** Besides the state directory: where the daemon writes. */
  readonly writable: readonly string[]
  /** Whether the system lets user units have namespaces of their own. */
  readonly hasNamespaces: boolean
}

/** The text of a template of the package, by its file name. */
export type Template = (name: string) => string

export function planSystemd(facts: ServiceFacts, template: Template): readonly ServiceFile[] {
  const { places, port } = facts
  const names = [SERVICE, SOCKET, ...(port === 'off' ? [] : [TCP_SOCKET]), TIMER, WAKE]
  const values = systemdValues(facts)
  return [
    launcherFile(facts),
    ...names.map((name) => {
      const text = name === SERVICE ? namespaces(template(name), facts.hasNamespaces) : template(name)
      // The environment may hold a proxy's password.
      return { path: join(places.unitDir, name), text: fillTemplate(text, values), mode: 0o600 }
    }),
  ]
}

export function planLaunchd(facts: ServiceFacts, template: Template): readonly ServiceFile[] {
  const { places, env } = facts
  // Told by the agent itself that launchd started it, the daemon counts failures: launchd does not.
  const pairs = Object.entries({ PREFECT_AUTHD_STARTED_BY: 'launchd', ...env }).map(
    ([name, value]) => `\n    <key>${xmlText(name)}</key>\n    <string>${xmlText(value)}</string>`,
  )
  const values = {
    LAUNCHER: xmlText(places.launcher),
    LOG: xmlText(join(places.stateDir, 'authd.log')),
    ENVIRONMENT: `${pairs.join('')}\n  `,
  }
  const name = `${LABEL}.plist`
  return [
    launcherFile(facts),
    { path: join(places.unitDir, name), text: fillTemplate(template(name), values), mode: 0o600 },
  ]
}

function launcherFile({ places, launch }: ServiceFacts): ServiceFile {
  return { path: places.launcher, text: renderLauncher(launch), mode: 0o700 }
}

function systemdValues({ places, env, port, writable }: ServiceFacts): Readonly<Record<string, string>> {
  const directories = [places.stateDir, ...writable]
  // Where the caller named no place of its own, both sides ask the system for it.
  const hasOwn = env.PREFECT_AUTH_SOCKET !== undefined
  const socketDir = hasOwn ? unitItem(dirname(places.socket)) : '%t/prefect-auth'
  return {
    LAUNCHER: unitWord(places.launcher),
    SOCKET: hasOwn ? unitLine(places.socket) : `%t/prefect-auth/${basename(places.socket)}`,
    PORT: String(port),
    DIRECTORIES: directories.map(unitWord).join(' '),
    WRITABLE: [...directories.map((path) => unitItem(`-${path}`)), `-${socketDir}`].join(' '),
    ENVIRONMENT: Object.entries(env)
      .map(([name, value]) => `Environment=${unitItem(`${name}=${value}`)}`)
      .join('\n'),
  }
}

/** Keeps or drops what stands between the two marks; the marks themselves go. */
function namespaces(template: string, isKept: boolean): string {
  return template.replace(/^#\[namespaces\]\n([\s\S]*?)^#\[\/namespaces\]\n/m, (_whole, inside: string) =>
    isKept
      ? inside
      : '# This system refuses user namespaces to units of users: what needs them is left out.\n',
  )
}
