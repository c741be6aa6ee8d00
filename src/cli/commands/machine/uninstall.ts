/** `prefect-auth uninstall --purge`: everything of ours leaves the machine: service, shell lines, plugins, keys, state. */
import type { Command } from 'commander'
import { failureOf } from '../../../client/failure.js'
import { resolvePaths } from '../../../config/paths.js'
import { systemClock } from '../../../std/clock.js'
import { askYes, requirePerson } from '../../ask.js'
import { cancelled, usageError } from '../../failure.js'
import { interpretersAround, lookAtEnvironment } from '../../python/environment.js'
import { takeOut } from '../../python/plugin.js'
import { openServiceManager } from '../../service/service.js'
import { type CommonOptions, type Session, type Start, withJson } from '../../session.js'
import { forgetKeys, holdersInVault } from '../../setup/farewell.js'
import { createRecordKeeper, inHome } from '../../setup/files.js'
import { purgeState } from '../../setup/purge.js'
import { withoutFolder } from '../../setup/python-part.js'
import { ifRunning, stopDaemon } from '../../setup/running-daemon.js'
import type { Step } from '../../setup/step.js'
import { planRemoval } from '../../setup/undo.js'
import { printable } from '../../text.js'

interface UninstallOptions extends CommonOptions {
  readonly purge?: boolean
  readonly revoke?: boolean
  readonly yes?: boolean
}

export function addUninstall(program: Command, start: Start): void {
  withJson(program.command('uninstall'))
    .description(
      'remove everything of ours from this machine; the package itself is removed by what installed it',
    )
    .option('--purge', 'also the keys and the state: required, because they cannot be had back')
    .option('--revoke', 'delete the keys at Prefect, too')
    .option('-y, --yes', 'do not ask')
    .action((options: UninstallOptions) =>
      start('uninstall', options, (session) => uninstall(session, options)),
    )
}

type Act = Pick<Step, 'says' | 'run'>

async function uninstall(session: Session, options: UninstallOptions): Promise<void> {
  const { purge = false, revoke = false, yes = false } = options
  if (!purge) {
    throw usageError(
      'uninstall removes the keys and the state as well, and wants to be told so',
      'prefect-auth uninstall --purge      (or, to keep them: prefect-auth setup --remove)',
    )
  }
  // Keys first: what cannot be revoked needs all the rest to be tried again.
  const acts = [
    ...(await keyActs(session, revoke)),
    ...(await secretActs(session)),
    ...(await fileActs(session)),
    ...(await planRemoval(removalContext(session), ['completion', 'hook'])).steps,
    ...(await pluginActs(session)),
    ...(await serviceActs(session)),
    stateAct(session),
  ]
  for (const { says } of acts) for (const line of says) session.say(line)
  if (!yes) {
    requirePerson(
      session,
      'uninstall asks before it removes anything',
      'prefect-auth uninstall --purge --yes',
    )
    if (!(await askYes(session, 'Remove all this?'))) throw cancelled()
  }
  const removed: string[] = []
  for (const { run } of acts) {
    const said = await run()
    removed.push(said)
    session.say(said)
  }
  session.answer(
    { removed },
    () =>
      'Uninstalled. The package itself: npm uninstall --global prefect-auth-broker, or pip, pipx, uv tool.',
  )
}

function removalContext(session: Session) {
  return { session, record: createRecordKeeper(session.terminal), isLookOnly: false }
}

/** Those of profiles without a key of ours would be left behind. */
async function fileActs({ client, terminal }: Session): Promise<readonly Act[]> {
  const { files } = (await ifRunning(client.files())) ?? { files: [] }
  return files.map(({ path }) => {
    const name = printable(inHome(path, terminal))
    return {
      says: [`remove the file ${name}`],
      run: async () => {
        const { removed } = await client.removeFile(path)
        return removed ? `removed: ${name}` : `${name} is not as we wrote it, or is gone; it is left`
      },
    }
  })
}

async function keyActs(session: Session, isRevoking: boolean): Promise<readonly Act[]> {
  const holders = await holdersInVault(session)
  if (holders.length === 0) return []
  const names = printable(holders.map(({ profile }) => profile).join(', '))
  const says = isRevoking
    ? `delete at Prefect, and forget, the keys of: ${names}`
    : `forget the keys of: ${names} (at Prefect they stay valid until they expire; --revoke deletes them)`
  return [
    { says: [says, ...(await sharesSay(session))], run: () => forgetKeys(session, holders, isRevoking) },
  ]
}

/** Of the stores of shares: a keychain would keep them. */
async function secretActs({ client }: Session): Promise<readonly Act[]> {
  const { secrets } = (await ifRunning(client.shares())) ?? { secrets: [] }
  return secrets.map((name) => ({
    says: [`remove secret ${printable(name)} from the vault`],
    run: async () => {
      await client.removeShareSecret(name)
      return `removed: secret ${printable(name)}`
    },
  }))
}

async function sharesSay({ client }: Session): Promise<readonly string[]> {
  const { shares } = await client.shares()
  return shares.flatMap(({ name, profiles, unpublished = 0 }) => [
    ...(profiles.length === 0
      ? []
      : [`share ${printable(name)}: the key is forgotten here only; other machines use it`]),
    ...(unpublished === 0
      ? []
      : [
          `share ${printable(name)}: a key that no other machine has yet is lost; see prefect-auth share status`,
        ]),
  ])
}

/** Those that `integrate` put in as well. */
async function pluginActs({ terminal }: Session): Promise<readonly Act[]> {
  const clock = systemClock()
  const { pythons } = await createRecordKeeper(terminal).read()
  const acts: Act[] = []
  const seen = new Set<string>()
  for (const python of [...pythons, ...interpretersAround(withoutFolder(terminal))]) {
    const environment = await lookAtEnvironment(python, terminal, clock).catch((error: unknown) => {
      if (failureOf(error) === undefined) throw error
      return undefined
    })
    if (environment?.plugin === undefined || seen.has(environment.packages)) continue
    seen.add(environment.packages)
    const name = printable(inHome(environment.prefix, terminal))
    acts.push({
      says: [`take our plugin out of ${name}`],
      run: async () => {
        await takeOut(environment, { terminal, clock })
        return `taken out of ${name}`
      },
    })
  }
  return acts
}

async function serviceActs(session: Session): Promise<readonly Act[]> {
  const manager = managerOf(session)
  const look = await manager?.look()
  const isThere = look !== undefined && look.state !== 'not_installed'
  return [
    {
      says: [isThere ? 'uninstall the service, and stop the daemon' : 'stop the daemon'],
      async run() {
        const removed = isThere ? await manager?.uninstall() : []
        // A shell's hook would start it again, while its state is being removed.
        await createRecordKeeper(session.terminal).change(({ onDemand: _old, ...now }) => now)
        await stopDaemon(session.terminal, session.signal)
        return `${removed?.length ?? 0} files of the service are removed, and no daemon runs`
      },
    },
  ]
}

function managerOf(session: Session) {
  try {
    return openServiceManager(session)
  } catch (error) {
    if (failureOf(error)?.code !== 'service_unsupported') throw error
    return undefined
  }
}

function stateAct({ terminal }: Session): Act {
  const { stateDir, configFile } = resolvePaths(terminal)
  const name = printable(inHome(stateDir, terminal))
  return {
    says: [
      `remove the state, with its audit log: ${name} (${printable(inHome(configFile, terminal))} and profiles.toml stay)`,
    ],
    async run() {
      const left = await purgeState(terminal)
      const others = left.map((path) => printable(inHome(path, terminal)))
      return `removed: ${name}${others.length === 0 ? '' : `; left, as they are not ours: ${others.join(', ')}`}`
    },
  }
}
