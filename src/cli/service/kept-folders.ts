/** Opens and closes the sandbox of the installed service for the directories of kept files, with a drop-in of its unit. */
import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { failureOf, failWith } from '../../client/failure.js'
import { isReadOnly } from '../../os/kept-file.js'
import { systemCode } from '../../os/system-error.js'
import { systemClock } from '../../std/clock.js'
import { quoteWord } from '../../std/text.js'
import type { FileView } from '../../wire/files.js'
import type { Status } from '../../wire/status.js'
import type { Session } from '../session.js'
import { printable } from '../text.js'
import { readSettings } from './facts.js'
import { findOutdated, writeFiles } from './files.js'
import { createRunTool } from './manager.js'
import { planDropIn, resolveServicePlaces, SERVICE } from './plan.js'
import { openable, whyNotOpened } from './sandbox.js'
import { dropDropIn, must } from './systemd.js'

/**
 * Lets the service write to the directory of `file`, which it could not, and restarts it: its sockets stay open. Resolves with
 * whether it was restarted: not if that would lock the vault or end a login. Fails with `file_path_read_only`, `service_failed`.
 */
export async function openFolderOf(file: FileView, session: Session): Promise<boolean> {
  const { client, terminal } = session
  const folder = dirname(file.path)
  if (await isReadOnly(folder))
    return refuse(file, 'the disk is read-only', `findmnt -T ${quoteWord(folder)}`)
  const status = await client.status()
  const places = resolveServicePlaces(terminal)
  const run = createRunTool(terminal.env, systemClock())
  const main = await run('systemctl', '--user', 'show', '-P', 'MainPID', SERVICE)
  const isOurs = main.stdout === String(status.daemon.pid) && existsSync(join(places.unitDir, SERVICE))
  if (!isOurs) return refuseForeign(file, await readUnit(status.daemon.pid))
  const reason = await whyNotOpened(folder, terminal)
  if (reason !== undefined) {
    const why = `the service's sandbox is not opened for ${folder}, because ${reason}`
    return refuse(file, why, 'choose a directory of its own, such as: mkdir -p -m 700 ~/.config/tool')
  }
  const undo = await writeDropIn(session, folder)
  await must(run, 'daemon-reload')
  const later = whyLater(status, session)
  if (later !== undefined) {
    session.say(`the service may write to ${printable(folder)} from its next start; not restarted: ${later}`)
    session.say('restart it when it suits: systemctl --user restart prefect-authd')
    return false
  }
  try {
    await must(run, 'restart', SERVICE)
  } catch (error) {
    // A file that is not kept is better than a daemon that does not run.
    await undo()
    await must(run, 'daemon-reload')
    await must(run, 'restart', SERVICE)
    throw error
  }
  session.say(`the service may now write to ${printable(folder)} (${printable(places.dropIn)}); restarted it`)
  return true
}

/** Takes out the directories without a kept file. In effect from the next start: no job has to wait for less. */
export async function closeFolders(session: Session): Promise<void> {
  const places = resolveServicePlaces(session.terminal)
  if (!existsSync(places.dropIn)) return
  try {
    if (await syncDropIn(session))
      await must(createRunTool(session.terminal.env, systemClock()), 'daemon-reload')
  } catch (error) {
    const cause = failureOf(error)?.detail ?? systemCode(error) ?? 'unknown error'
    session.say(
      `the service may still write to its directory: cannot change ${printable(places.dropIn)}: ${printable(cause)}`,
    )
  }
}

/** Resolves with how to undo it. */
async function writeDropIn(session: Session, folder: string): Promise<() => Promise<void>> {
  const { dropIn } = resolveServicePlaces(session.terminal)
  const before = await readFile(dropIn, 'utf8').catch(() => undefined)
  try {
    await syncDropIn(session)
  } catch (error) {
    const code = systemCode(error)
    if (code === undefined) throw error
    failWith({
      code: 'file_path_read_only',
      kind: 'unavailable',
      detail: `cannot write ${dropIn}: ${code}; without it the daemon cannot write to ${folder}, because of the service's sandbox`,
      hint: `ls -la ${quoteWord(dirname(dropIn))}`,
    })
  }
  return async () => {
    if (before === undefined) await dropDropIn({ dropIn })
    else await writeFiles([{ path: dropIn, text: before, mode: 0o600 }])
  }
}

/** The drop-in as the daemon's list needs it, also if another command changes the list meanwhile. Resolves with whether it changed. */
async function syncDropIn({ client, terminal }: Session): Promise<boolean> {
  const places = resolveServicePlaces(terminal)
  const wanted = async () => {
    const { files } = await client.files()
    return openable(
      files.map(({ path }) => dirname(path)),
      terminal,
    )
  }
  let isChanged = false
  for (let folders = await wanted(); ; ) {
    const planned = planDropIn(places, folders)
    const outdated = await findOutdated(planned)
    await writeFiles(outdated)
    isChanged = outdated.length > 0 || isChanged
    if (planned.length === 0) isChanged = (await dropDropIn(places)) || isChanged
    const now = await wanted()
    if (now.join('\n') === folders.join('\n')) return isChanged
    folders = now
  }
}

/** Why a restart would cost more than the file is worth now. */
function whyLater({ vault, logins }: Status, { terminal }: Session): string | undefined {
  if (vault.state !== 'ready') return 'the vault cannot be read, and the daemon would lose the keys it holds'
  const isTyped =
    vault.at_rest === 'passphrase' && readSettings(terminal)['vault.passphrase_file'] === undefined
  if (isTyped) return 'the vault would be locked until: prefect-auth unlock'
  const isOpen = logins.some(({ state }) => !['stored', 'failed', 'cancelled', 'expired'].includes(state))
  return isOpen ? 'a login is open' : undefined
}

interface Unit {
  readonly name: string
  /** Of the user's own manager. */
  readonly isUser: boolean
}

/** The service in which a process runs, as its cgroup says; `undefined` if it runs in none, or that is unknown. */
async function readUnit(pid: number): Promise<Unit | undefined> {
  const text = await readFile(`/proc/${pid}/cgroup`, 'utf8').catch(() => '')
  const lines = [/^0::(.*)$/m, /^\d+:name=systemd:(.*)$/m]
  const path = lines.map((line) => line.exec(text)?.[1] ?? '').find((one) => one.includes('.service')) ?? ''
  const name = path.split('/').findLast((part) => part.endsWith('.service'))
  if (name === undefined || name.startsWith('user@')) return undefined
  return { name, isUser: path.includes('/user@') }
}

function refuseForeign(file: FileView, unit: Unit | undefined): never {
  const folder = dirname(file.path)
  if (unit === undefined) {
    const why = `the daemon runs in a sandbox that does not let it write to ${folder}`
    return refuse(file, why, 'give its container or sandbox that directory, or choose another one')
  }
  const tool = unit.isUser ? 'systemctl --user' : 'sudo systemctl'
  return refuse(
    file,
    `the daemon runs as ${unit.name}, whose sandbox does not let it write to ${folder}`,
    `${tool} edit ${quoteWord(unit.name)}      (add under [Service]: ReadWritePaths=${folder}; then: ${tool} restart ${quoteWord(unit.name)})`,
  )
}

function refuse(file: FileView, why: string, hint: string): never {
  return failWith({
    code: 'file_path_read_only',
    kind: 'unavailable',
    detail: `cannot write ${file.path}: ${why}`,
    hint,
  })
}
