/** Our state, removed by name: whatever else is in its directories is somebody's, and stays. */
import { lstat, readdir, rm, rmdir } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { failWith } from '../../client/failure.js'
import { resolvePaths, type Surroundings } from '../../config/paths.js'

/** Everything that the daemon and its commands write there: docs/architecture.md, State on disk. */
const STATE =
  /^(?:(?:vault|vault-move|ledger|tokens|journal|login-ports|files|starts|setup)\.json|fingerprint\.key|audit(?:-kept)?\.jsonl|authd\.log|start\.log|clean-end|lock-host|code-cache(?:-[a-z]+)?)(?:\.[\w.:-]+)?$|^starting\.sock$|^profiles\.toml\.(?:in-place|overwritten-).*$/
/** The first one, and one that came by a move. */
const VAULT_DIR = /^vault(?:-[0-9a-f]{8})?$/
const VAULT = /^(?:[0-9a-f]{64}|data-key\.json)(?:\.[\w.:-]+)?$/
const BESIDE_SOCKET = /^(?:callers\.sock|peers\.sock|generation(?:\.[0-9a-f]{12}\.tmp)?)$/

/** Resolves with what is left in the directories. Fails with `setup_write_failed`. Nothing may be running. */
export async function purgeState(around: Surroundings): Promise<readonly string[]> {
  const { stateDir, socket } = resolvePaths(around)
  const isOfSocket = (name: string) =>
    BESIDE_SOCKET.test(name) || [basename(socket), `${basename(socket)}.unclean`].includes(name)
  for (const path of await namesIn(stateDir)) {
    // Not through a link: what it leads to is somebody's.
    const isVault = VAULT_DIR.test(basename(path)) && (await lstat(path)).isDirectory()
    if (isVault) await clear(path, (name) => VAULT.test(name))
  }
  // A lock is a socket, whatever its name.
  await clear(join(stateDir, 'lock'), (name) => isSocket(join(stateDir, 'lock', name)))
  await clear(dirname(socket), isOfSocket)
  await clear(join(stateDir, 'run'), isOfSocket)
  await clear(stateDir, (name) => STATE.test(name))
  const left = await Promise.all([stateDir, dirname(socket)].map(namesIn))
  return [...new Set(left.flat())]
}

/** Removes the files that `isOurs` accepts, then the directory if nothing is left. */
async function clear(folder: string, isOurs: (name: string) => boolean | Promise<boolean>): Promise<void> {
  for (const path of await namesIn(folder)) if (await isOurs(basename(path))) await remove(path)
  await rmdir(folder).catch(() => undefined)
}

async function namesIn(folder: string): Promise<readonly string[]> {
  const names = await readdir(folder).catch(() => [])
  return names.map((name) => join(folder, name))
}

async function isSocket(path: string): Promise<boolean> {
  return (await lstat(path).catch(() => undefined))?.isSocket() === true
}

async function remove(path: string): Promise<void> {
  await rm(path, { force: true }).catch((error: unknown) =>
    failWith({
      code: 'setup_write_failed',
      kind: 'unavailable',
      detail: `cannot remove ${path}: ${error instanceof Error ? error.message : String(error)}`,
      hint: 'prefect-auth uninstall --purge      (again, when it can be removed)',
    }),
  )
}
